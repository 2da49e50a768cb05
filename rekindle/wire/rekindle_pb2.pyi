from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ResultStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESULT_UNSPECIFIED: _ClassVar[ResultStatus]
    SUCCESS: _ClassVar[ResultStatus]
    FAILURE: _ClassVar[ResultStatus]
    TIMEOUT: _ClassVar[ResultStatus]
    RUNNER_LOST: _ClassVar[ResultStatus]
    START_FAILURE: _ClassVar[ResultStatus]
    CANCELLED: _ClassVar[ResultStatus]
    INTERNAL: _ClassVar[ResultStatus]
RESULT_UNSPECIFIED: ResultStatus
SUCCESS: ResultStatus
FAILURE: ResultStatus
TIMEOUT: ResultStatus
RUNNER_LOST: ResultStatus
START_FAILURE: ResultStatus
CANCELLED: ResultStatus
INTERNAL: ResultStatus

class HelloRequest(_message.Message):
    __slots__ = ("protocol", "version", "python_version")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PYTHON_VERSION_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    version: str
    python_version: str
    def __init__(self, protocol: _Optional[int] = ..., version: _Optional[str] = ..., python_version: _Optional[str] = ...) -> None: ...

class HelloReply(_message.Message):
    __slots__ = ("protocol", "version", "instance_id", "agents")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    version: str
    instance_id: str
    agents: int
    def __init__(self, protocol: _Optional[int] = ..., version: _Optional[str] = ..., instance_id: _Optional[str] = ..., agents: _Optional[int] = ...) -> None: ...

class FunctionDef(_message.Message):
    __slots__ = ("name", "spec_json", "code", "secrets")
    class SecretsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec_json: str
    code: bytes
    secrets: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., spec_json: _Optional[str] = ..., code: _Optional[bytes] = ..., secrets: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SourceBundle(_message.Message):
    __slots__ = ("digest", "data")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    digest: str
    data: bytes
    def __init__(self, digest: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class RegisterAppRequest(_message.Message):
    __slots__ = ("app_id", "name", "functions", "source", "ephemeral")
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    name: str
    functions: _containers.RepeatedCompositeFieldContainer[FunctionDef]
    source: SourceBundle
    ephemeral: bool
    def __init__(self, app_id: _Optional[str] = ..., name: _Optional[str] = ..., functions: _Optional[_Iterable[_Union[FunctionDef, _Mapping]]] = ..., source: _Optional[_Union[SourceBundle, _Mapping]] = ..., ephemeral: bool = ...) -> None: ...

class FunctionHandle(_message.Message):
    __slots__ = ("name", "function_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    function_id: str
    def __init__(self, name: _Optional[str] = ..., function_id: _Optional[str] = ...) -> None: ...

class RegisterAppReply(_message.Message):
    __slots__ = ("functions",)
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    functions: _containers.RepeatedCompositeFieldContainer[FunctionHandle]
    def __init__(self, functions: _Optional[_Iterable[_Union[FunctionHandle, _Mapping]]] = ...) -> None: ...

class HoldAppRequest(_message.Message):
    __slots__ = ("app_id",)
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    def __init__(self, app_id: _Optional[str] = ...) -> None: ...

class HoldAppEvent(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class CloseAppRequest(_message.Message):
    __slots__ = ("app_id",)
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    def __init__(self, app_id: _Optional[str] = ...) -> None: ...

class CloseAppReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LookupRequest(_message.Message):
    __slots__ = ("app_id", "name")
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    name: str
    def __init__(self, app_id: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Input(_message.Message):
    __slots__ = ("index", "method", "payload")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    index: int
    method: str
    payload: bytes
    def __init__(self, index: _Optional[int] = ..., method: _Optional[str] = ..., payload: _Optional[bytes] = ...) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("call_id", "function_id", "params", "inputs", "last", "strategy", "submitted_ns")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_NS_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    function_id: str
    params: bytes
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    last: bool
    strategy: str
    submitted_ns: int
    def __init__(self, call_id: _Optional[str] = ..., function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., last: bool = ..., strategy: _Optional[str] = ..., submitted_ns: _Optional[int] = ...) -> None: ...

class SubmitReply(_message.Message):
    __slots__ = ("accepted",)
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    def __init__(self, accepted: _Optional[int] = ...) -> None: ...

class PhaseMark(_message.Message):
    __slots__ = ("phase", "at_ns")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    phase: str
    at_ns: int
    def __init__(self, phase: _Optional[str] = ..., at_ns: _Optional[int] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("call_id", "index", "status", "data", "error_type", "message", "traceback", "strategy", "runner_id", "function_id", "submitted_ns", "marks", "log_seq", "deliveries", "notes", "pss_bytes")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    RUNNER_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_NS_FIELD_NUMBER: _ClassVar[int]
    MARKS_FIELD_NUMBER: _ClassVar[int]
    LOG_SEQ_FIELD_NUMBER: _ClassVar[int]
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    PSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    index: int
    status: ResultStatus
    data: bytes
    error_type: str
    message: str
    traceback: str
    strategy: str
    runner_id: str
    function_id: str
    submitted_ns: int
    marks: _containers.RepeatedCompositeFieldContainer[PhaseMark]
    log_seq: int
    deliveries: int
    notes: _containers.RepeatedScalarFieldContainer[str]
    pss_bytes: int
    def __init__(self, call_id: _Optional[str] = ..., index: _Optional[int] = ..., status: _Optional[_Union[ResultStatus, str]] = ..., data: _Optional[bytes] = ..., error_type: _Optional[str] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ..., strategy: _Optional[str] = ..., runner_id: _Optional[str] = ..., function_id: _Optional[str] = ..., submitted_ns: _Optional[int] = ..., marks: _Optional[_Iterable[_Union[PhaseMark, _Mapping]]] = ..., log_seq: _Optional[int] = ..., deliveries: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ..., pss_bytes: _Optional[int] = ...) -> None: ...

class ResultsRequest(_message.Message):
    __slots__ = ("call_id", "from_index", "have")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_INDEX_FIELD_NUMBER: _ClassVar[int]
    HAVE_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    from_index: int
    have: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, call_id: _Optional[str] = ..., from_index: _Optional[int] = ..., have: _Optional[_Iterable[int]] = ...) -> None: ...

class PrepareRequest(_message.Message):
    __slots__ = ("function_id", "params", "strategy", "timeout_s")
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    params: bytes
    strategy: str
    timeout_s: float
    def __init__(self, function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., strategy: _Optional[str] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class PrepareReply(_message.Message):
    __slots__ = ("ok", "reason")
    OK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    reason: str
    def __init__(self, ok: bool = ..., reason: _Optional[str] = ...) -> None: ...

class LogsRequest(_message.Message):
    __slots__ = ("app_id", "after_seq", "follow")
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQ_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    after_seq: int
    follow: bool
    def __init__(self, app_id: _Optional[str] = ..., after_seq: _Optional[int] = ..., follow: bool = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("seq", "app_id", "function", "runner_id", "call_id", "stream", "text", "partial", "at_ns")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    RUNNER_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    app_id: str
    function: str
    runner_id: str
    call_id: str
    stream: str
    text: str
    partial: bool
    at_ns: int
    def __init__(self, seq: _Optional[int] = ..., app_id: _Optional[str] = ..., function: _Optional[str] = ..., runner_id: _Optional[str] = ..., call_id: _Optional[str] = ..., stream: _Optional[str] = ..., text: _Optional[str] = ..., partial: bool = ..., at_ns: _Optional[int] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: str
    def __init__(self, json: _Optional[str] = ...) -> None: ...

class FetchFunctionRequest(_message.Message):
    __slots__ = ("function_id",)
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    def __init__(self, function_id: _Optional[str] = ...) -> None: ...

class FetchFunctionReply(_message.Message):
    __slots__ = ("app_id", "function", "source")
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    function: FunctionDef
    source: SourceBundle
    def __init__(self, app_id: _Optional[str] = ..., function: _Optional[_Union[FunctionDef, _Mapping]] = ..., source: _Optional[_Union[SourceBundle, _Mapping]] = ...) -> None: ...

class InFlight(_message.Message):
    __slots__ = ("call_id", "index")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    index: int
    def __init__(self, call_id: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class AgentHello(_message.Message):
    __slots__ = ("agent_id", "host", "protocol", "max_runners", "in_flight", "pid")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNERS_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    host: str
    protocol: int
    max_runners: int
    in_flight: _containers.RepeatedCompositeFieldContainer[InFlight]
    pid: int
    def __init__(self, agent_id: _Optional[str] = ..., host: _Optional[str] = ..., protocol: _Optional[int] = ..., max_runners: _Optional[int] = ..., in_flight: _Optional[_Iterable[_Union[InFlight, _Mapping]]] = ..., pid: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("stats_json",)
    STATS_JSON_FIELD_NUMBER: _ClassVar[int]
    stats_json: str
    def __init__(self, stats_json: _Optional[str] = ...) -> None: ...

class InputDone(_message.Message):
    __slots__ = ("result", "app_id")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    result: Result
    app_id: str
    def __init__(self, result: _Optional[_Union[Result, _Mapping]] = ..., app_id: _Optional[str] = ...) -> None: ...

class PrepareDone(_message.Message):
    __slots__ = ("request_id", "ok", "reason")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    ok: bool
    reason: str
    def __init__(self, request_id: _Optional[str] = ..., ok: bool = ..., reason: _Optional[str] = ...) -> None: ...

class AppClosed(_message.Message):
    __slots__ = ("app_id",)
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    def __init__(self, app_id: _Optional[str] = ...) -> None: ...

class InputReturned(_message.Message):
    __slots__ = ("call_id", "index", "reason")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    index: int
    reason: str
    def __init__(self, call_id: _Optional[str] = ..., index: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class AgentMessage(_message.Message):
    __slots__ = ("hello", "heartbeat", "done", "log", "prepared", "returned", "app_closed")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    APP_CLOSED_FIELD_NUMBER: _ClassVar[int]
    hello: AgentHello
    heartbeat: Heartbeat
    done: InputDone
    log: LogLine
    prepared: PrepareDone
    returned: InputReturned
    app_closed: AppClosed
    def __init__(self, hello: _Optional[_Union[AgentHello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., done: _Optional[_Union[InputDone, _Mapping]] = ..., log: _Optional[_Union[LogLine, _Mapping]] = ..., prepared: _Optional[_Union[PrepareDone, _Mapping]] = ..., returned: _Optional[_Union[InputReturned, _Mapping]] = ..., app_closed: _Optional[_Union[AppClosed, _Mapping]] = ...) -> None: ...

class Assign(_message.Message):
    __slots__ = ("call_id", "input", "function_id", "params", "strategy", "submitted_ns", "delivery", "app_id")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_NS_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    input: Input
    function_id: str
    params: bytes
    strategy: str
    submitted_ns: int
    delivery: int
    app_id: str
    def __init__(self, call_id: _Optional[str] = ..., input: _Optional[_Union[Input, _Mapping]] = ..., function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., strategy: _Optional[str] = ..., submitted_ns: _Optional[int] = ..., delivery: _Optional[int] = ..., app_id: _Optional[str] = ...) -> None: ...

class AckDone(_message.Message):
    __slots__ = ("call_id", "index")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    index: int
    def __init__(self, call_id: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class CancelInput(_message.Message):
    __slots__ = ("call_id", "index")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    index: int
    def __init__(self, call_id: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class CloseAppOnAgent(_message.Message):
    __slots__ = ("app_id",)
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    def __init__(self, app_id: _Optional[str] = ...) -> None: ...

class OpenFunction(_message.Message):
    __slots__ = ("function_id", "app_id")
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    app_id: str
    def __init__(self, function_id: _Optional[str] = ..., app_id: _Optional[str] = ...) -> None: ...

class PrepareOnAgent(_message.Message):
    __slots__ = ("request_id", "function_id", "params", "strategy", "timeout_s")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    function_id: str
    params: bytes
    strategy: str
    timeout_s: float
    def __init__(self, request_id: _Optional[str] = ..., function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., strategy: _Optional[str] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("instance_id", "protocol")
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    protocol: int
    def __init__(self, instance_id: _Optional[str] = ..., protocol: _Optional[int] = ...) -> None: ...

class ControllerMessage(_message.Message):
    __slots__ = ("welcome", "assign", "ack", "cancel", "close_app", "open", "prepare")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ASSIGN_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    CLOSE_APP_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    assign: Assign
    ack: AckDone
    cancel: CancelInput
    close_app: CloseAppOnAgent
    open: OpenFunction
    prepare: PrepareOnAgent
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., assign: _Optional[_Union[Assign, _Mapping]] = ..., ack: _Optional[_Union[AckDone, _Mapping]] = ..., cancel: _Optional[_Union[CancelInput, _Mapping]] = ..., close_app: _Optional[_Union[CloseAppOnAgent, _Mapping]] = ..., open: _Optional[_Union[OpenFunction, _Mapping]] = ..., prepare: _Optional[_Union[PrepareOnAgent, _Mapping]] = ...) -> None: ...
