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
    __slots__ = ("protocol", "version", "instance_id", "agents", "blob_url", "blob_threshold_bytes")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    BLOB_URL_FIELD_NUMBER: _ClassVar[int]
    BLOB_THRESHOLD_BYTES_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    version: str
    instance_id: str
    agents: int
    blob_url: str
    blob_threshold_bytes: int
    def __init__(self, protocol: _Optional[int] = ..., version: _Optional[str] = ..., instance_id: _Optional[str] = ..., agents: _Optional[int] = ..., blob_url: _Optional[str] = ..., blob_threshold_bytes: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("index", "method", "payload", "blob")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    index: int
    method: str
    payload: bytes
    blob: str
    def __init__(self, index: _Optional[int] = ..., method: _Optional[str] = ..., payload: _Optional[bytes] = ..., blob: _Optional[str] = ...) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("call_id", "function_id", "params", "inputs", "last", "strategy", "submitted_ns", "depth", "read_once")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_NS_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    READ_ONCE_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    function_id: str
    params: bytes
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    last: bool
    strategy: str
    submitted_ns: int
    depth: int
    read_once: bool
    def __init__(self, call_id: _Optional[str] = ..., function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., last: bool = ..., strategy: _Optional[str] = ..., submitted_ns: _Optional[int] = ..., depth: _Optional[int] = ..., read_once: bool = ...) -> None: ...

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
    __slots__ = ("call_id", "index", "status", "data", "error_type", "message", "traceback", "strategy", "runner_id", "function_id", "submitted_ns", "marks", "log_seq", "deliveries", "notes", "pss_bytes", "blob")
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
    BLOB_FIELD_NUMBER: _ClassVar[int]
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
    blob: str
    def __init__(self, call_id: _Optional[str] = ..., index: _Optional[int] = ..., status: _Optional[_Union[ResultStatus, str]] = ..., data: _Optional[bytes] = ..., error_type: _Optional[str] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ..., strategy: _Optional[str] = ..., runner_id: _Optional[str] = ..., function_id: _Optional[str] = ..., submitted_ns: _Optional[int] = ..., marks: _Optional[_Iterable[_Union[PhaseMark, _Mapping]]] = ..., log_seq: _Optional[int] = ..., deliveries: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ..., pss_bytes: _Optional[int] = ..., blob: _Optional[str] = ...) -> None: ...

class ResultBatch(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, results: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ResultsRequest(_message.Message):
    __slots__ = ("call_id", "from_index", "have", "stored", "end_index")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_INDEX_FIELD_NUMBER: _ClassVar[int]
    HAVE_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    END_INDEX_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    from_index: int
    have: _containers.RepeatedScalarFieldContainer[int]
    stored: bool
    end_index: int
    def __init__(self, call_id: _Optional[str] = ..., from_index: _Optional[int] = ..., have: _Optional[_Iterable[int]] = ..., stored: bool = ..., end_index: _Optional[int] = ...) -> None: ...

class TakenCall(_message.Message):
    __slots__ = ("call_id", "function_id", "first", "last", "whole", "blobs")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    function_id: str
    first: _containers.RepeatedScalarFieldContainer[int]
    last: _containers.RepeatedScalarFieldContainer[int]
    whole: bool
    blobs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, call_id: _Optional[str] = ..., function_id: _Optional[str] = ..., first: _Optional[_Iterable[int]] = ..., last: _Optional[_Iterable[int]] = ..., whole: bool = ..., blobs: _Optional[_Iterable[str]] = ...) -> None: ...

class TakenRequest(_message.Message):
    __slots__ = ("calls",)
    CALLS_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[TakenCall]
    def __init__(self, calls: _Optional[_Iterable[_Union[TakenCall, _Mapping]]] = ...) -> None: ...

class TakenReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCallRequest(_message.Message):
    __slots__ = ("call_id",)
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    def __init__(self, call_id: _Optional[str] = ...) -> None: ...

class CallInfo(_message.Message):
    __slots__ = ("call_id", "function_id", "function", "app", "inputs", "submitted", "done", "running", "submitted_ns", "cancelled")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_NS_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    function_id: str
    function: str
    app: str
    inputs: int
    submitted: bool
    done: int
    running: int
    submitted_ns: int
    cancelled: bool
    def __init__(self, call_id: _Optional[str] = ..., function_id: _Optional[str] = ..., function: _Optional[str] = ..., app: _Optional[str] = ..., inputs: _Optional[int] = ..., submitted: bool = ..., done: _Optional[int] = ..., running: _Optional[int] = ..., submitted_ns: _Optional[int] = ..., cancelled: bool = ...) -> None: ...

class CancelCallRequest(_message.Message):
    __slots__ = ("call_id", "terminate_containers")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    TERMINATE_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    terminate_containers: bool
    def __init__(self, call_id: _Optional[str] = ..., terminate_containers: bool = ...) -> None: ...

class CancelCallReply(_message.Message):
    __slots__ = ("queued", "running")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    queued: int
    running: int
    def __init__(self, queued: _Optional[int] = ..., running: _Optional[int] = ...) -> None: ...

class LeaseRequest(_message.Message):
    __slots__ = ("function_id", "params", "depth")
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    params: bytes
    depth: int
    def __init__(self, function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., depth: _Optional[int] = ...) -> None: ...

class LeaseReply(_message.Message):
    __slots__ = ("granted", "reason", "lease_id", "socket", "token", "runner_id", "host", "max_payload_bytes")
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    RUNNER_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    MAX_PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    granted: bool
    reason: str
    lease_id: str
    socket: str
    token: str
    runner_id: str
    host: str
    max_payload_bytes: int
    def __init__(self, granted: bool = ..., reason: _Optional[str] = ..., lease_id: _Optional[str] = ..., socket: _Optional[str] = ..., token: _Optional[str] = ..., runner_id: _Optional[str] = ..., host: _Optional[str] = ..., max_payload_bytes: _Optional[int] = ...) -> None: ...

class SetPoolRequest(_message.Message):
    __slots__ = ("function_id", "params", "every_instance", "min_containers", "max_containers", "buffer_containers", "scaledown_window_s", "policy", "policy_options_json", "app", "function", "reset")
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    EVERY_INSTANCE_FIELD_NUMBER: _ClassVar[int]
    MIN_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    BUFFER_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    SCALEDOWN_WINDOW_S_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    POLICY_OPTIONS_JSON_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    params: bytes
    every_instance: bool
    min_containers: int
    max_containers: int
    buffer_containers: int
    scaledown_window_s: float
    policy: str
    policy_options_json: str
    app: str
    function: str
    reset: bool
    def __init__(self, function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., every_instance: bool = ..., min_containers: _Optional[int] = ..., max_containers: _Optional[int] = ..., buffer_containers: _Optional[int] = ..., scaledown_window_s: _Optional[float] = ..., policy: _Optional[str] = ..., policy_options_json: _Optional[str] = ..., app: _Optional[str] = ..., function: _Optional[str] = ..., reset: bool = ...) -> None: ...

class SetPoolReply(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: str
    def __init__(self, json: _Optional[str] = ...) -> None: ...

class DeadLettersRequest(_message.Message):
    __slots__ = ("function_id", "limit", "after")
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    limit: int
    after: str
    def __init__(self, function_id: _Optional[str] = ..., limit: _Optional[int] = ..., after: _Optional[str] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("id", "call_id", "index", "function_id", "app", "function", "reason", "error_type", "traceback", "deliveries", "at_ns", "payload_bytes")
    ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    id: str
    call_id: str
    index: int
    function_id: str
    app: str
    function: str
    reason: str
    error_type: str
    traceback: str
    deliveries: int
    at_ns: int
    payload_bytes: int
    def __init__(self, id: _Optional[str] = ..., call_id: _Optional[str] = ..., index: _Optional[int] = ..., function_id: _Optional[str] = ..., app: _Optional[str] = ..., function: _Optional[str] = ..., reason: _Optional[str] = ..., error_type: _Optional[str] = ..., traceback: _Optional[str] = ..., deliveries: _Optional[int] = ..., at_ns: _Optional[int] = ..., payload_bytes: _Optional[int] = ...) -> None: ...

class DeadLettersReply(_message.Message):
    __slots__ = ("letters", "total")
    LETTERS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    letters: _containers.RepeatedCompositeFieldContainer[DeadLetter]
    total: int
    def __init__(self, letters: _Optional[_Iterable[_Union[DeadLetter, _Mapping]]] = ..., total: _Optional[int] = ...) -> None: ...

class DeadLetterSelection(_message.Message):
    __slots__ = ("ids", "all", "function_id")
    IDS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    all: bool
    function_id: str
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., all: bool = ..., function_id: _Optional[str] = ...) -> None: ...

class DeadLetterCount(_message.Message):
    __slots__ = ("count", "calls", "note")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    count: int
    calls: _containers.RepeatedScalarFieldContainer[str]
    note: str
    def __init__(self, count: _Optional[int] = ..., calls: _Optional[_Iterable[str]] = ..., note: _Optional[str] = ...) -> None: ...

class RecordedRequest(_message.Message):
    __slots__ = ("app", "function", "since_s")
    APP_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    SINCE_S_FIELD_NUMBER: _ClassVar[int]
    app: str
    function: str
    since_s: float
    def __init__(self, app: _Optional[str] = ..., function: _Optional[str] = ..., since_s: _Optional[float] = ...) -> None: ...

class RecordedReply(_message.Message):
    __slots__ = ("json",)
    JSON_FIELD_NUMBER: _ClassVar[int]
    json: str
    def __init__(self, json: _Optional[str] = ...) -> None: ...

class MetricsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MetricsReply(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("app_id", "after_seq", "follow", "app", "tail", "since_ns", "function", "call_id", "runner_id", "streams", "search")
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQ_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    RUNNER_ID_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    after_seq: int
    follow: bool
    app: str
    tail: int
    since_ns: int
    function: str
    call_id: str
    runner_id: str
    streams: _containers.RepeatedScalarFieldContainer[str]
    search: str
    def __init__(self, app_id: _Optional[str] = ..., after_seq: _Optional[int] = ..., follow: bool = ..., app: _Optional[str] = ..., tail: _Optional[int] = ..., since_ns: _Optional[int] = ..., function: _Optional[str] = ..., call_id: _Optional[str] = ..., runner_id: _Optional[str] = ..., streams: _Optional[_Iterable[str]] = ..., search: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("without_pools",)
    WITHOUT_POOLS_FIELD_NUMBER: _ClassVar[int]
    without_pools: bool
    def __init__(self, without_pools: bool = ...) -> None: ...

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
    __slots__ = ("call_id", "indexes")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    indexes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, call_id: _Optional[str] = ..., indexes: _Optional[_Iterable[int]] = ...) -> None: ...

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
    __slots__ = ("stats_json", "in_flight", "lists_in_flight")
    STATS_JSON_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    LISTS_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    stats_json: str
    in_flight: _containers.RepeatedCompositeFieldContainer[InFlight]
    lists_in_flight: bool
    def __init__(self, stats_json: _Optional[str] = ..., in_flight: _Optional[_Iterable[_Union[InFlight, _Mapping]]] = ..., lists_in_flight: bool = ...) -> None: ...

class Done(_message.Message):
    __slots__ = ("call_id", "function_id", "app_id", "indexes", "statuses", "results", "execute_ns")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    EXECUTE_NS_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    function_id: str
    app_id: str
    indexes: _containers.RepeatedScalarFieldContainer[int]
    statuses: _containers.RepeatedScalarFieldContainer[ResultStatus]
    results: _containers.RepeatedScalarFieldContainer[bytes]
    execute_ns: int
    def __init__(self, call_id: _Optional[str] = ..., function_id: _Optional[str] = ..., app_id: _Optional[str] = ..., indexes: _Optional[_Iterable[int]] = ..., statuses: _Optional[_Iterable[_Union[ResultStatus, str]]] = ..., results: _Optional[_Iterable[bytes]] = ..., execute_ns: _Optional[int] = ...) -> None: ...

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

class InputsReturned(_message.Message):
    __slots__ = ("call_id", "indexes", "reason", "begun")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BEGUN_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    indexes: _containers.RepeatedScalarFieldContainer[int]
    reason: str
    begun: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, call_id: _Optional[str] = ..., indexes: _Optional[_Iterable[int]] = ..., reason: _Optional[str] = ..., begun: _Optional[_Iterable[int]] = ...) -> None: ...

class LeaseGranted(_message.Message):
    __slots__ = ("request_id", "ok", "reason", "socket", "token", "runner_id")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    RUNNER_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    ok: bool
    reason: str
    socket: str
    token: str
    runner_id: str
    def __init__(self, request_id: _Optional[str] = ..., ok: bool = ..., reason: _Optional[str] = ..., socket: _Optional[str] = ..., token: _Optional[str] = ..., runner_id: _Optional[str] = ...) -> None: ...

class AgentMessage(_message.Message):
    __slots__ = ("hello", "heartbeat", "done", "log", "prepared", "returned", "app_closed", "lease")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    APP_CLOSED_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    hello: AgentHello
    heartbeat: Heartbeat
    done: Done
    log: LogLine
    prepared: PrepareDone
    returned: InputsReturned
    app_closed: AppClosed
    lease: LeaseGranted
    def __init__(self, hello: _Optional[_Union[AgentHello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., done: _Optional[_Union[Done, _Mapping]] = ..., log: _Optional[_Union[LogLine, _Mapping]] = ..., prepared: _Optional[_Union[PrepareDone, _Mapping]] = ..., returned: _Optional[_Union[InputsReturned, _Mapping]] = ..., app_closed: _Optional[_Union[AppClosed, _Mapping]] = ..., lease: _Optional[_Union[LeaseGranted, _Mapping]] = ...) -> None: ...

class Assign(_message.Message):
    __slots__ = ("call_id", "inputs", "function_id", "params", "strategy", "submitted_ns", "delivery", "app_id", "depth", "suspect")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_NS_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    SUSPECT_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    function_id: str
    params: bytes
    strategy: str
    submitted_ns: int
    delivery: int
    app_id: str
    depth: int
    suspect: bool
    def __init__(self, call_id: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., strategy: _Optional[str] = ..., submitted_ns: _Optional[int] = ..., delivery: _Optional[int] = ..., app_id: _Optional[str] = ..., depth: _Optional[int] = ..., suspect: bool = ...) -> None: ...

class AckDone(_message.Message):
    __slots__ = ("call_id", "indexes")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    indexes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, call_id: _Optional[str] = ..., indexes: _Optional[_Iterable[int]] = ...) -> None: ...

class CancelInputs(_message.Message):
    __slots__ = ("call_id", "indexes", "kill")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    KILL_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    indexes: _containers.RepeatedScalarFieldContainer[int]
    kill: bool
    def __init__(self, call_id: _Optional[str] = ..., indexes: _Optional[_Iterable[int]] = ..., kill: bool = ...) -> None: ...

class GrantLease(_message.Message):
    __slots__ = ("request_id", "function_id", "params", "lease_id", "depth", "max_payload_bytes")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    MAX_PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    function_id: str
    params: bytes
    lease_id: str
    depth: int
    max_payload_bytes: int
    def __init__(self, request_id: _Optional[str] = ..., function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., lease_id: _Optional[str] = ..., depth: _Optional[int] = ..., max_payload_bytes: _Optional[int] = ...) -> None: ...

class PlanPool(_message.Message):
    __slots__ = ("function_id", "params", "every_instance", "plan_json")
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    EVERY_INSTANCE_FIELD_NUMBER: _ClassVar[int]
    PLAN_JSON_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    params: bytes
    every_instance: bool
    plan_json: str
    def __init__(self, function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., every_instance: bool = ..., plan_json: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("instance_id", "protocol", "max_payload_bytes")
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    MAX_PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    protocol: int
    max_payload_bytes: int
    def __init__(self, instance_id: _Optional[str] = ..., protocol: _Optional[int] = ..., max_payload_bytes: _Optional[int] = ...) -> None: ...

class ControllerMessage(_message.Message):
    __slots__ = ("welcome", "assign", "ack", "cancel", "close_app", "open", "prepare", "lease", "plan")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ASSIGN_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    CLOSE_APP_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    assign: Assign
    ack: AckDone
    cancel: CancelInputs
    close_app: CloseAppOnAgent
    open: OpenFunction
    prepare: PrepareOnAgent
    lease: GrantLease
    plan: PlanPool
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., assign: _Optional[_Union[Assign, _Mapping]] = ..., ack: _Optional[_Union[AckDone, _Mapping]] = ..., cancel: _Optional[_Union[CancelInputs, _Mapping]] = ..., close_app: _Optional[_Union[CloseAppOnAgent, _Mapping]] = ..., open: _Optional[_Union[OpenFunction, _Mapping]] = ..., prepare: _Optional[_Union[PrepareOnAgent, _Mapping]] = ..., lease: _Optional[_Union[GrantLease, _Mapping]] = ..., plan: _Optional[_Union[PlanPool, _Mapping]] = ...) -> None: ...
