"""The Python that a model's code finds: what it keeps, shows and says."""

import pytest

from support.sandboxes import Host, Refused


def test_a_last_expression_is_a_value_and_variables_stay(server: Host) -> None:
    assert server.run("x = 20\nx + 1").values == ["21"]
    again = server.run("x * 2")
    assert (again.state, again.values, again.how) == ("resumed", ["40"], "done")


def test_what_is_printed_comes_in_order(server: Host) -> None:
    said = server.run(
        "import sys, subprocess\nprint('a')\nprint('b', file=sys.stderr)\nsubprocess.run(['echo', 'c'])\nNone"
    )
    assert said.lines == ["a", "b", "c"]


def test_an_exception_is_a_traceback_and_the_session_goes_on(server: Host) -> None:
    said = server.run("kept = 1\n{}['absent']")
    assert said.raised[0].endswith("KeyError: 'absent'")
    assert "----> 2 {}['absent']" in said.raised[0]
    assert server.run("kept").values == ["1"]


def test_a_mistake_in_the_syntax_is_a_traceback(server: Host) -> None:
    assert "SyntaxError" in server.run("def f(:").raised[0]


def test_figures_are_pictures_and_do_not_come_again(server: Host) -> None:
    said = server.run("import matplotlib.pyplot as plt\nplt.plot([1, 3])\nplt.figure()\nplt.plot([2])\nplt.show()")
    assert len(said.pictures) == 2
    assert all(picture.startswith(b"\x89PNG") for picture in said.pictures)
    assert said.raised == []
    assert server.run("1").pictures == []


def test_a_figure_that_nobody_showed_is_shown_at_the_end(server: Host) -> None:
    said = server.run("import matplotlib.pyplot as plt\n_ = plt.plot([1, 3])")
    assert len(said.pictures) == 1


def test_a_last_expression_that_is_an_image_is_a_picture(server: Host) -> None:
    said = server.run("from PIL import Image\nImage.new('RGB', (8, 8), 'red')")
    assert (len(said.pictures), said.values) == (1, [])


def test_what_is_displayed_is_printed_or_a_picture(server: Host) -> None:
    said = server.run("from PIL import Image\ndisplay('text')\ndisplay(Image.new('RGB', (8, 8)))")
    assert (said.printed, len(said.pictures)) == ("'text'\n", 1)


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("import multiprocessing as m\nwith m.Pool(2) as pool: print(pool.map(abs, [-1, -2]))", "[1, 2]\n"),
        ("import threading\nt = threading.Thread(target=print, args=('in',)); t.start(); t.join()", "in\n"),
        ("import subprocess\nprint(subprocess.check_output(['echo', 'x']))", "b'x\\n'\n"),
        ("import sqlite3\nprint(sqlite3.connect('/mnt/data/a.db').execute('select 6 * 7').fetchone())", "(42,)\n"),
        ("import asyncio\nawait asyncio.sleep(0)\nprint('awaited')", "awaited\n"),
        ("!echo shell", "shell\n"),
        ("%matplotlib inline\nprint('magic')", "magic\n"),
        ("import numpy as np\nprint((np.ones((99, 99)) @ np.ones((99, 99)))[0, 0])", "99.0\n"),
        ("from multiprocessing import shared_memory as s\nm = s.SharedMemory(create=True, size=9); print(m.size >= 9)\n"
         "m.close(); m.unlink()", "True\n"),
        ("import tempfile\nwith tempfile.TemporaryFile() as f: print(f.write(b'abc'))", "3\n"),
        ("import os\nprint(os.getcwd(), os.path.expanduser('~'))", "/mnt/data /home/sandbox\n"),
        ("open('mine.py', 'w').write('here = 1')\nimport mine\nprint(mine.here)", "1\n"),
        ("exit()\nprint('still here')", "still here\n"),
    ],
)  # fmt: skip
def test_everyday_code_works(server: Host, code: str, printed: str) -> None:
    said = server.run(code)
    assert said.raised == []
    assert said.printed.replace("\r\n", "\n") == printed


def test_nothing_waits_for_input(server: Host) -> None:
    assert "EOFError" in server.run("input()").raised[0]


def test_a_child_of_a_fork_does_not_answer_for_its_parent(server: Host) -> None:
    code = "import os\nif (child := os.fork()) == 0: print('child')\nelse: os.waitpid(child, 0); print('parent')"
    said = server.run(code)
    assert (sorted(said.lines), said.how) == (["child", "parent"], "done")
    assert server.run("'next'").values == ["'next'"]


def test_nothing_is_installed_from_inside(server: Host) -> None:
    assert "No module named pip" in server.run("import sys\n!{sys.executable} -m pip install x").printed


def test_more_code_than_a_call_takes_is_refused(server: Host) -> None:
    with pytest.raises(Refused, match="longer than"):
        server.run("#" * 2**20 + "\n1")
