"""Calls as their step shows them while the model writes them, and when they have been made."""

import msgspec

from support.sdk import accumulated, without_index
from understudy.core.chat.assemble import CallArguments, CallStarted
from understudy.core.chat.offers import Offer, offers
from understudy.core.chat.step_calls import StepCalls, whole_call
from understudy.core.run.state import RunSettings
from understudy.wire.chat import ChatFunction
from understudy.wire.deltas import CallDelta
from understudy.wire.steps import (
    CodeInterpreterCall,
    CodeOutcome,
    FileSearchCall,
    FunctionCall,
    FunctionOutcome,
    ImageOutput,
    ImageOutputFile,
    LogsOutput,
)
from understudy.wire.tools import CodeInterpreterTool, FileSearchTool, Function, FunctionTool

FUNCTIONS = {kind: ChatFunction(name=kind) for kind in ("file_search", "code_interpreter")}
SETTINGS = RunSettings(model="m", instructions="", tools=[CodeInterpreterTool(), FileSearchTool()])


def step_calls() -> StepCalls:
    return StepCalls(SETTINGS, offers(SETTINGS, FUNCTIONS))  # type: ignore[arg-type]


def added_up(deltas: list[CallDelta]) -> list[dict[str, object]]:
    trees = [{"tool_calls": [msgspec.to_builtins(delta)]} for delta in deltas]
    return without_index(accumulated(trees)["tool_calls"])


def made(call_id: str, name: str, arguments: str) -> FunctionCall:
    return FunctionCall(id=call_id, function=FunctionOutcome(name=name, arguments=arguments))


def test_code_streams_bare_and_its_outputs_follow() -> None:
    calls = step_calls()
    deltas = [*calls.deltas(CallStarted(0, "call_c", "code_interpreter"))]
    deltas += calls.deltas(CallArguments(0, '{"code": "print'))
    deltas += calls.deltas(CallArguments(0, '(1)"}'))
    deltas += calls.finish()
    outputs = [LogsOutput(logs="1"), LogsOutput(logs="\n"), ImageOutput(image=ImageOutputFile(file_id="file-P"))]
    deltas += [calls.add_output(0, output) for output in [*outputs, LogsOutput(logs="2")]]
    (shown,) = calls.shown([made("call_c", "code_interpreter", '{"code": "print(1)"}')])
    assert shown == CodeInterpreterCall(
        id="call_c",
        code_interpreter=CodeOutcome(
            input="print(1)",
            outputs=[LogsOutput(logs="1\n"), outputs[2], LogsOutput(logs="2")],
        ),
    )
    (told,) = added_up(deltas)
    assert told["code_interpreter"]["input"] == "print(1)"  # type: ignore[index]
    assert without_index(told["code_interpreter"]["outputs"]) == [  # type: ignore[index]
        msgspec.to_builtins(output)
        for output in shown.code_interpreter.outputs  # type: ignore[union-attr]
    ]
    assert added_up([*whole_call(0, shown)]) == [told], "a late reader adds up the same"


def test_what_is_held_back_of_code_comes_before_the_next_call() -> None:
    calls = step_calls()
    deltas = [*calls.deltas(CallStarted(0, "call_c", "code_interpreter"))]
    deltas += calls.deltas(CallArguments(0, "```\nx\n"))
    deltas += calls.deltas(CallStarted(1, "call_f", "weather"))
    assert [delta.index for delta in deltas] == [0, 0, 0, 1]


def test_a_search_is_told_of_once_and_its_arguments_never() -> None:
    calls = step_calls()
    deltas = [*calls.deltas(CallStarted(0, "call_s", "file_search")), *calls.deltas(CallArguments(0, '{"queries"'))]
    assert msgspec.json.encode(deltas) == b'[{"type":"file_search","index":0,"id":"call_s","file_search":{}}]'
    (shown,) = calls.shown([made("call_s", "file_search", "{}")])
    assert isinstance(shown, FileSearchCall)
    assert [*whole_call(0, shown)] == deltas


def test_a_built_in_tool_never_takes_the_name_of_a_function() -> None:
    mine = FunctionTool(function=Function(name="file_search"))
    both = msgspec.structs.replace(SETTINGS, tools=[mine, *SETTINGS.tools, *SETTINGS.tools])
    assert [*offers(both, FUNCTIONS)] == [  # type: ignore[arg-type]
        Offer("code_interpreter", ChatFunction(name="code_interpreter")),
        Offer("file_search", ChatFunction(name="built_in_file_search")),
    ]
    assert [*offers(msgspec.structs.replace(both, tool_choice="none"), FUNCTIONS)] == []  # type: ignore[arg-type]
