"""Code that writes what it likes, as much as it likes, on the ways to the server."""

from support.sandboxes import Host

# The channel of results is the one pipe above the three streams that can be written.
CHANNEL = """
import fcntl, os
def channel():
    for number in range(3, 512):
        try:
            if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
                return number
        except OSError:
            pass
def write(line):
    while line:
        line = line[os.write(channel(), line):]
"""


def test_output_that_floods_ends_the_session(server: Host) -> None:
    said = server.run("import os\nwhile True: os.write(1, b'x' * 65536)", key="flood")
    assert said.how == "killed"
    assert "printed more than" in (said.lost or "")
    assert len(said.printed) < 2**20 + 200


def test_output_is_kept_up_to_its_bound_and_then_left_out_once(server: Host) -> None:
    said = server.run("for _ in range(3): print('x' * 2**20)\nprint('end')")
    assert (said.how, len(said.raised)) == ("done", 0)
    assert 2**20 <= len(said.printed) < 2**20 + 200
    assert said.printed.count("left out") == 1


def test_a_value_that_is_too_long_is_cut(server: Host) -> None:
    (value,) = server.run("'x' * 50_000_000").values
    assert len(value) < 2**20 + 200
    assert "left out" in value or "characters more" in value


def test_a_line_without_an_end_ends_the_session(server: Host) -> None:
    said = server.run(CHANNEL + "while True: os.write(channel(), b'x' * 65536)", key="endless")
    assert said.how == "killed"
    assert "channel of its results" in (said.lost or "")


def test_a_million_small_results_end_the_session(server: Host) -> None:
    said = server.run(CHANNEL + 'while True: write(b\'{"event": "value", "text": ""}\\n\' * 1000)', key="many")
    assert said.how == "killed"
    assert "results" in (said.lost or "")


def test_nesting_words_and_bytes_that_are_no_results_are_passed_over(server: Host) -> None:
    lines = [
        "b'[' * 200_000",
        'b\'{"event": "value", "text": \' + b\'[\' * 200_000',
        'b\'{"event": "value", "x": \' + b\'[\' * 100_000 + b\']\' * 100_000 + b\', "text": "1"}\'',
        "b'\\xff\\xfe\\x00'",
        'b\'{"event": "value", "text": "\\xff"}\'',
        'b\'{"event": "value", "text": 5}\'',
        'b\'{"event": "value", "text": "\\\\ud800"}\'',
        'b\'{"event": "picture", "png": "bm8gcG5n"}\'',
        'b\'{"event": "picture", "png": "***"}\'',
        "b'null'",
        "b''",
        'b\'{"event": "boom"}\'',
    ]
    said = server.run(CHANNEL + "\n".join(f"write({line} + b'\\n')" for line in lines) + "\n'after'")
    assert said.how == "done"
    assert [value for value in said.values if value not in ("", "\ufffd")] == ["'after'"]
    assert said.pictures == []


def test_a_forged_end_ends_nothing(server: Host) -> None:
    said = server.run(CHANNEL + 'write(b\'{"event": "done", "call": "guess"}\\n\')\nprint("later")')
    assert (said.how, said.printed) == ("done", "later\n")
    assert server.run("'next'").values == ["'next'"]


def test_what_no_text_may_hold_is_taken_out(server: Host) -> None:
    said = server.run("import os\nos.write(1, b'a\\0b \\xff\\xfe \\xed\\xa0\\x80 \\xe2\\x82')\nprint('\\ud800 c')")
    assert "\0" not in said.printed
    assert said.printed.startswith("ab \ufffd")
    said.printed.encode("utf-8")


def test_lone_surrogates_and_nul_in_values_and_tracebacks_are_taken_out(server: Host) -> None:
    said = server.run("class Odd:\n    def __repr__(self): return '\\ud800\\0x'\nOdd()")
    assert said.values == ["?x"]
    said = server.run("raise ValueError('\\ud800\\0x')")
    assert said.raised[0].endswith("ValueError: ?x")


def test_more_pictures_than_a_call_may_show_are_left_out(server: Host) -> None:
    code = "from PIL import Image\nfor n in range(25): display(Image.new('RGB', (2, 2)))"
    said = server.run(code)
    assert (said.how, len(said.pictures)) == ("done", 20)


def test_a_picture_that_is_too_large_is_left_out_in_words(server: Host) -> None:
    code = "import os\nfrom PIL import Image\nImage.frombytes('RGB', (2000, 2000), os.urandom(12_000_000))"
    said = server.run(code)
    assert (said.how, said.pictures) == ("done", [])
    assert "left out" in said.printed


def test_a_figure_that_no_memory_holds_raises_and_is_gone(server: Host) -> None:
    said = server.run("import matplotlib.pyplot as plt\nplt.figure(figsize=(500, 500), dpi=100)\nplt.plot([1])\nNone")
    assert said.how == "done"
    assert said.pictures == []
    assert said.raised or "Error" in said.printed
    again = server.run("'next'")
    assert (again.values, again.raised, again.pictures) == (["'next'"], [], [])


def test_code_that_closes_its_channels_ends_only_itself(server: Host) -> None:
    assert server.run("import os\nos.closerange(0, 512)", key="closer").how == "killed"
    assert server.run("1", key="closer").values == ["1"]
