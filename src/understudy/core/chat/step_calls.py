"""The calls of one model turn as their step shows them: functions as they are, built-in tools in their own forms."""

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import UNSET

from understudy.core.chat.assemble import CallArguments, CallStarted
from understudy.core.chat.code_input import CodeInput
from understudy.core.chat.offers import BuiltInKind, Offer, search_options
from understudy.core.run.state import RunSettings
from understudy.wire.deltas import (
    CallDelta,
    CodeDeltaValue,
    CodeInterpreterCallDelta,
    FileSearchCallDelta,
    FunctionCallDelta,
    FunctionDeltaValue,
    ImageOutputDelta,
    LogsOutputDelta,
)
from understudy.wire.steps import (
    CodeInterpreterCall,
    CodeOutcome,
    FileSearchCall,
    FileSearchOutcome,
    FunctionCall,
    ImageOutput,
    LogsOutput,
    ToolCall,
)

_Output: TypeAlias = list[str] | ImageOutput  # logs in their pieces, or an image


class StepCalls:
    """`offers` says which names are those of built-in tools. What a call has come to takes its place in the step."""

    def __init__(self, settings: RunSettings, offers: Sequence[Offer]) -> None:
        self._kinds = {offer.function.name: offer.kind for offer in offers}
        self._ranking = search_options(settings).ranking_options
        self._by_index: dict[int, BuiltInKind] = {}
        self._codes: dict[int, CodeInput] = {}
        self._open_code: int | None = None
        self._outcomes: dict[int, ToolCall] = {}
        self._outputs: dict[int, list[_Output]] = {}

    def kind(self, call: FunctionCall) -> BuiltInKind | None:
        """`None` for a function of the client's."""
        return self._kinds.get(call.function.name)

    def deltas(self, piece: CallStarted | CallArguments) -> Sequence[CallDelta]:
        match piece:
            case CallStarted(index=index, id=call_id, name=name):
                kind, before = self._kinds.get(name), self.finish()
                if kind is None:
                    return [*before, _function_started(index, call_id, name)]
                self._by_index[index] = kind
                if kind == "code_interpreter":
                    self._codes[index], self._open_code = CodeInput(), index
                return [*before, _tool_started(kind, index, call_id)]
            case CallArguments(index=index, arguments=arguments):
                if index in self._codes:
                    return _code_delta(index, self._codes[index].feed(arguments))
                if index in self._by_index:
                    return ()
                return [FunctionCallDelta(index=index, function=FunctionDeltaValue(arguments=arguments))]

    def finish(self) -> Sequence[CallDelta]:
        """What was held back of a call's code. The call is whole."""
        index, self._open_code = self._open_code, None
        return () if index is None else _code_delta(index, self._codes[index].finish())

    def add_output(self, index: int, output: LogsOutput | ImageOutput) -> CallDelta:
        """More of what a call of the code interpreter puts out. Logs that follow logs are one output."""
        outputs = self._outputs.setdefault(index, [])
        if isinstance(output, ImageOutput) or not outputs or isinstance(outputs[-1], ImageOutput):
            outputs.append(output if isinstance(output, ImageOutput) else [])
        if isinstance(output, LogsOutput):
            logs = outputs[-1]
            assert isinstance(logs, list)
            logs.append(output.logs)
        value = CodeDeltaValue(outputs=[_output_delta(len(outputs) - 1, output)])
        return CodeInterpreterCallDelta(index=index, code_interpreter=value)

    def put(self, index: int, call: ToolCall) -> None:
        """What this call has come to."""
        self._outcomes[index] = call

    def shown(self, calls: Sequence[FunctionCall]) -> tuple[ToolCall, ...]:
        """The calls that the model has made, in the same order."""
        return tuple(self._outcomes.get(index) or self._begun(index, call) for index, call in enumerate(calls))

    def _begun(self, index: int, call: FunctionCall) -> ToolCall:
        match self.kind(call):
            case None:
                return call
            case "file_search":
                return FileSearchCall(id=call.id, file_search=FileSearchOutcome(ranking_options=self._ranking))
            case "code_interpreter":
                outputs = [
                    LogsOutput(logs="".join(output)) if isinstance(output, list) else output
                    for output in self._outputs.get(index, ())
                ]
                code = self._codes.get(index)
                outcome = CodeOutcome(input="" if code is None else code.code, outputs=outputs)
                return CodeInterpreterCall(id=call.id, code_interpreter=outcome)


def whole_call(index: int, call: ToolCall) -> Sequence[CallDelta]:
    """All that was told of a call, for readers that come later."""
    match call:
        case FunctionCall(id=call_id, function=function):
            arguments = FunctionDeltaValue(arguments=function.arguments)
            return [
                _function_started(index, call_id, function.name),
                FunctionCallDelta(index=index, function=arguments),
            ]
        case FileSearchCall(id=call_id):
            return [_tool_started("file_search", index, call_id)]
        case CodeInterpreterCall(id=call_id, code_interpreter=code):
            outputs = [_output_delta(place, output) for place, output in enumerate(code.outputs)]
            whole = CodeDeltaValue(input=code.input, outputs=outputs or UNSET)
            return [
                _tool_started("code_interpreter", index, call_id),
                CodeInterpreterCallDelta(index=index, code_interpreter=whole),
            ]


def _code_delta(index: int, code: str) -> Sequence[CallDelta]:
    return [CodeInterpreterCallDelta(index=index, code_interpreter=CodeDeltaValue(input=code))] if code else ()


def _output_delta(index: int, output: LogsOutput | ImageOutput) -> LogsOutputDelta | ImageOutputDelta:
    match output:
        case LogsOutput(logs=logs):
            return LogsOutputDelta(index=index, logs=logs)
        case ImageOutput(image=image):
            return ImageOutputDelta(index=index, image=image)


def _function_started(index: int, call_id: str, name: str) -> FunctionCallDelta:
    value = FunctionDeltaValue(name=name, arguments="", output=None)
    return FunctionCallDelta(index=index, id=call_id, function=value)


def _tool_started(kind: BuiltInKind, index: int, call_id: str) -> CallDelta:
    match kind:
        case "file_search":
            return FileSearchCallDelta(index=index, id=call_id)
        case "code_interpreter":
            return CodeInterpreterCallDelta(
                index=index, id=call_id, code_interpreter=CodeDeltaValue(input="", outputs=[])
            )
