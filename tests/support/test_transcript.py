from pathlib import Path

import pytest

from support.client import Event
from support.transcript import Normaliser, check_golden, transcript

RUN = "run_" + "a" * 24
OTHER = "run_" + "b" * 24
MESSAGE = "msg_" + "c" * 24


def test_ids_are_numbered_by_first_appearance_and_keep_their_name() -> None:
    names = Normaliser()
    assert names.tree([{"id": OTHER}, {"id": RUN, "message_id": MESSAGE}, OTHER]) == [
        {"id": "run_1"},
        {"id": "run_2", "message_id": "msg_1"},
        "run_1",
    ]
    assert names.text(f"Thread already has an active run {RUN}.") == "Thread already has an active run run_2."


def test_times_are_replaced_and_null_times_stay() -> None:
    tree = {"created_at": 1_760_000_000, "completed_at": None, "created": 5, "max_prompt_tokens": 5}
    assert Normaliser().tree(tree) == {
        "created_at": "TIME",
        "completed_at": None,
        "created": "TIME",
        "max_prompt_tokens": 5,
    }


def test_a_transcript_reads_like_the_wire() -> None:
    events = [Event("thread.run.created", {"id": RUN, "created_at": 1}), Event("done", "[DONE]")]
    assert transcript(events) == (
        'event: thread.run.created\ndata: {"id": "run_1", "created_at": "TIME"}\n\nevent: done\ndata: [DONE]\n'
    )


def test_a_golden_file_is_written_on_demand_and_compared_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPDATE_GOLDEN", "1")
    check_golden("stream", "one\n", directory=tmp_path)
    monkeypatch.delenv("UPDATE_GOLDEN")
    check_golden("stream", "one\n", directory=tmp_path)
    with pytest.raises(pytest.fail.Exception, match=r"(?s)-one.*\+two"):
        check_golden("stream", "two\n", directory=tmp_path)
    with pytest.raises(pytest.fail.Exception, match="there is no golden file"):
        check_golden("other", "one\n", directory=tmp_path)
