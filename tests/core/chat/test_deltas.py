import msgspec

from understudy.core.chat.assemble import CallArguments, CallStarted, RefusalPiece, TextPiece
from understudy.core.chat.deltas import empty_text_delta, message_delta, step_delta
from understudy.core.chat.step_calls import StepCalls
from understudy.core.run.state import RunSettings
from understudy.wire.deltas import Delta
from understudy.wire.messages import FileCitation, FileCitationTarget

CALLS = StepCalls(RunSettings(model="gpt-4o", instructions="", tools=[]), ())


def json_of(delta: Delta) -> str:
    return msgspec.json.encode(delta).decode()


def test_the_first_text_delta_brings_the_annotations() -> None:
    assert json_of(message_delta("msg_1", TextPiece("Hel", 0, True))) == (
        '{"id":"msg_1","object":"thread.message.delta","delta":{"content":'
        '[{"type":"text","index":0,"text":{"value":"Hel","annotations":[]}}]}}'
    )


def test_later_text_deltas_bring_only_the_value() -> None:
    assert json_of(message_delta("msg_1", TextPiece("lo", 0, False))) == (
        '{"id":"msg_1","object":"thread.message.delta","delta":{"content":'
        '[{"type":"text","index":0,"text":{"value":"lo"}}]}}'
    )


def test_first_and_later_refusal_deltas_look_alike() -> None:
    for first in (True, False):
        assert json_of(message_delta("msg_1", RefusalPiece("I ", 1, first))) == (
            '{"id":"msg_1","object":"thread.message.delta","delta":{"content":'
            '[{"type":"refusal","index":1,"refusal":"I "}]}}'
        )


def test_a_message_without_text_still_has_a_delta() -> None:
    assert json_of(empty_text_delta("msg_1")) == (
        '{"id":"msg_1","object":"thread.message.delta","delta":{"content":'
        '[{"type":"text","index":0,"text":{"value":"","annotations":[]}}]}}'
    )


def test_the_first_delta_of_a_call_names_it() -> None:
    assert json_of(step_delta("step_1", *CALLS.deltas(CallStarted(0, "call_a", "f")))) == (
        '{"id":"step_1","object":"thread.run.step.delta","delta":{"step_details":{"type":"tool_calls","tool_calls":'
        '[{"type":"function","index":0,"id":"call_a","function":{"name":"f","arguments":"","output":null}}]}}}'
    )


def test_later_deltas_of_a_call_bring_only_arguments() -> None:
    assert json_of(step_delta("step_1", *CALLS.deltas(CallArguments(1, '{"x')))) == (
        '{"id":"step_1","object":"thread.run.step.delta","delta":{"step_details":{"type":"tool_calls","tool_calls":'
        '[{"type":"function","index":1,"function":{"arguments":"{\\"x"}}]}}}'
    )


def test_an_annotation_comes_with_the_text_of_its_marker_and_has_its_place() -> None:
    target = FileCitationTarget(file_id="file-A")
    cited = FileCitation(text="【0:1†source】", start_index=4, end_index=16, file_citation=target)
    piece = TextPiece("【0:1†source】", 0, False, (cited,), annotated=2)
    assert json_of(message_delta("msg_1", piece)) == (
        '{"id":"msg_1","object":"thread.message.delta","delta":{"content":[{"type":"text","index":0,"text":'
        '{"value":"【0:1†source】","annotations":[{"type":"file_citation","index":2,"text":"【0:1†source】",'
        '"start_index":4,"end_index":16,"file_citation":{"file_id":"file-A"}}]}}]}}'
    )
