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
    __slots__ = ("protocol", "version")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    version: str
    def __init__(self, protocol: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...

class HelloReply(_message.Message):
    __slots__ = ("protocol", "version", "instance_id", "agents", "blob_url", "blob_threshold_bytes", "redis_waits")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    BLOB_URL_FIELD_NUMBER: _ClassVar[int]
    BLOB_THRESHOLD_BYTES_FIELD_NUMBER: _ClassVar[int]
    REDIS_WAITS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    version: str
    instance_id: str
    agents: int
    blob_url: str
    blob_threshold_bytes: int
    redis_waits: str
    def __init__(self, protocol: _Optional[int] = ..., version: _Optional[str] = ..., instance_id: _Optional[str] = ..., agents: _Optional[int] = ..., blob_url: _Optional[str] = ..., blob_threshold_bytes: _Optional[int] = ..., redis_waits: _Optional[str] = ...) -> None: ...

class FunctionDef(_message.Message):
    __slots__ = ("spec", "code", "secrets", "named_secrets", "schedule")
    class SecretsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SPEC_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    NAMED_SECRETS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    spec: FunctionSpec
    code: bytes
    secrets: _containers.ScalarMap[str, str]
    named_secrets: _containers.RepeatedCompositeFieldContainer[NamedSecret]
    schedule: Schedule
    def __init__(self, spec: _Optional[_Union[FunctionSpec, _Mapping]] = ..., code: _Optional[bytes] = ..., secrets: _Optional[_Mapping[str, str]] = ..., named_secrets: _Optional[_Iterable[_Union[NamedSecret, _Mapping]]] = ..., schedule: _Optional[_Union[Schedule, _Mapping]] = ...) -> None: ...

class Schedule(_message.Message):
    __slots__ = ("cron", "timezone", "years", "months", "seconds", "payload")
    CRON_FIELD_NUMBER: _ClassVar[int]
    TIMEZONE_FIELD_NUMBER: _ClassVar[int]
    YEARS_FIELD_NUMBER: _ClassVar[int]
    MONTHS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    cron: str
    timezone: str
    years: int
    months: int
    seconds: float
    payload: bytes
    def __init__(self, cron: _Optional[str] = ..., timezone: _Optional[str] = ..., years: _Optional[int] = ..., months: _Optional[int] = ..., seconds: _Optional[float] = ..., payload: _Optional[bytes] = ...) -> None: ...

class FunctionSpec(_message.Message):
    __slots__ = ("app_name", "name", "kind", "methods", "module", "qualname", "program", "python", "python_version", "env", "cwd", "sys_path", "sys_path_last", "secrets_in_snapshot", "code_digest", "source_digest", "hooks_digest", "timeout_s", "startup_timeout_s", "min_containers", "max_containers", "buffer_containers", "scaledown_window_s", "single_use_containers", "enable_memory_snapshot", "retries", "cpu", "cpu_limit", "memory_mib", "memory_limit_mib", "spare_containers", "gpu", "gpu_priority", "enable_gpu_snapshot", "gpu_spares", "variant", "generators", "volumes", "image", "max_inputs", "target_inputs", "max_batch_size", "wait_ms", "parameters")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    APP_NAME_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    QUALNAME_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    PYTHON_VERSION_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    SYS_PATH_FIELD_NUMBER: _ClassVar[int]
    SYS_PATH_LAST_FIELD_NUMBER: _ClassVar[int]
    SECRETS_IN_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    CODE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SOURCE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    HOOKS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    STARTUP_TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    MIN_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    BUFFER_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    SCALEDOWN_WINDOW_S_FIELD_NUMBER: _ClassVar[int]
    SINGLE_USE_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    ENABLE_MEMORY_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    CPU_FIELD_NUMBER: _ClassVar[int]
    CPU_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MIB_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_MIB_FIELD_NUMBER: _ClassVar[int]
    SPARE_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    GPU_FIELD_NUMBER: _ClassVar[int]
    GPU_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    ENABLE_GPU_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    GPU_SPARES_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    GENERATORS_FIELD_NUMBER: _ClassVar[int]
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MAX_INPUTS_FIELD_NUMBER: _ClassVar[int]
    TARGET_INPUTS_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    app_name: str
    name: str
    kind: str
    methods: _containers.RepeatedScalarFieldContainer[str]
    module: str
    qualname: str
    program: _containers.RepeatedScalarFieldContainer[bytes]
    python: bytes
    python_version: str
    env: _containers.ScalarMap[str, bytes]
    cwd: bytes
    sys_path: _containers.RepeatedScalarFieldContainer[bytes]
    sys_path_last: _containers.RepeatedScalarFieldContainer[bytes]
    secrets_in_snapshot: _containers.RepeatedScalarFieldContainer[str]
    code_digest: str
    source_digest: str
    hooks_digest: str
    timeout_s: float
    startup_timeout_s: float
    min_containers: int
    max_containers: int
    buffer_containers: int
    scaledown_window_s: float
    single_use_containers: bool
    enable_memory_snapshot: bool
    retries: RetrySpec
    cpu: float
    cpu_limit: float
    memory_mib: int
    memory_limit_mib: int
    spare_containers: int
    gpu: _containers.RepeatedCompositeFieldContainer[GpuRequest]
    gpu_priority: int
    enable_gpu_snapshot: bool
    gpu_spares: int
    variant: str
    generators: _containers.RepeatedScalarFieldContainer[str]
    volumes: _containers.RepeatedCompositeFieldContainer[VolumeMount]
    image: str
    max_inputs: int
    target_inputs: int
    max_batch_size: int
    wait_ms: int
    parameters: _containers.RepeatedCompositeFieldContainer[ClassParameter]
    def __init__(self, app_name: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[str] = ..., methods: _Optional[_Iterable[str]] = ..., module: _Optional[str] = ..., qualname: _Optional[str] = ..., program: _Optional[_Iterable[bytes]] = ..., python: _Optional[bytes] = ..., python_version: _Optional[str] = ..., env: _Optional[_Mapping[str, bytes]] = ..., cwd: _Optional[bytes] = ..., sys_path: _Optional[_Iterable[bytes]] = ..., sys_path_last: _Optional[_Iterable[bytes]] = ..., secrets_in_snapshot: _Optional[_Iterable[str]] = ..., code_digest: _Optional[str] = ..., source_digest: _Optional[str] = ..., hooks_digest: _Optional[str] = ..., timeout_s: _Optional[float] = ..., startup_timeout_s: _Optional[float] = ..., min_containers: _Optional[int] = ..., max_containers: _Optional[int] = ..., buffer_containers: _Optional[int] = ..., scaledown_window_s: _Optional[float] = ..., single_use_containers: bool = ..., enable_memory_snapshot: bool = ..., retries: _Optional[_Union[RetrySpec, _Mapping]] = ..., cpu: _Optional[float] = ..., cpu_limit: _Optional[float] = ..., memory_mib: _Optional[int] = ..., memory_limit_mib: _Optional[int] = ..., spare_containers: _Optional[int] = ..., gpu: _Optional[_Iterable[_Union[GpuRequest, _Mapping]]] = ..., gpu_priority: _Optional[int] = ..., enable_gpu_snapshot: bool = ..., gpu_spares: _Optional[int] = ..., variant: _Optional[str] = ..., generators: _Optional[_Iterable[str]] = ..., volumes: _Optional[_Iterable[_Union[VolumeMount, _Mapping]]] = ..., image: _Optional[str] = ..., max_inputs: _Optional[int] = ..., target_inputs: _Optional[int] = ..., max_batch_size: _Optional[int] = ..., wait_ms: _Optional[int] = ..., parameters: _Optional[_Iterable[_Union[ClassParameter, _Mapping]]] = ...) -> None: ...

class ClassParameter(_message.Message):
    __slots__ = ("name", "type", "default")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    default: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., default: _Optional[str] = ...) -> None: ...

class VolumeMount(_message.Message):
    __slots__ = ("path", "name", "environment", "url", "read_only", "sub_path", "options")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PATH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    SUB_PATH_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    name: str
    environment: str
    url: str
    read_only: bool
    sub_path: bytes
    options: _containers.ScalarMap[str, str]
    def __init__(self, path: _Optional[bytes] = ..., name: _Optional[str] = ..., environment: _Optional[str] = ..., url: _Optional[str] = ..., read_only: bool = ..., sub_path: _Optional[bytes] = ..., options: _Optional[_Mapping[str, str]] = ...) -> None: ...

class GpuRequest(_message.Message):
    __slots__ = ("model", "count", "memory_mib")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MIB_FIELD_NUMBER: _ClassVar[int]
    model: str
    count: int
    memory_mib: int
    def __init__(self, model: _Optional[str] = ..., count: _Optional[int] = ..., memory_mib: _Optional[int] = ...) -> None: ...

class RetrySpec(_message.Message):
    __slots__ = ("max_retries", "backoff_coefficient", "initial_delay_s", "max_delay_s", "min_delay_s")
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_COEFFICIENT_FIELD_NUMBER: _ClassVar[int]
    INITIAL_DELAY_S_FIELD_NUMBER: _ClassVar[int]
    MAX_DELAY_S_FIELD_NUMBER: _ClassVar[int]
    MIN_DELAY_S_FIELD_NUMBER: _ClassVar[int]
    max_retries: int
    backoff_coefficient: float
    initial_delay_s: float
    max_delay_s: float
    min_delay_s: float
    def __init__(self, max_retries: _Optional[int] = ..., backoff_coefficient: _Optional[float] = ..., initial_delay_s: _Optional[float] = ..., max_delay_s: _Optional[float] = ..., min_delay_s: _Optional[float] = ...) -> None: ...

class NamedSecret(_message.Message):
    __slots__ = ("name", "environment", "id", "required_keys", "kept", "keys")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_KEYS_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    name: str
    environment: str
    id: str
    required_keys: _containers.RepeatedScalarFieldContainer[str]
    kept: _containers.RepeatedScalarFieldContainer[str]
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., environment: _Optional[str] = ..., id: _Optional[str] = ..., required_keys: _Optional[_Iterable[str]] = ..., kept: _Optional[_Iterable[str]] = ..., keys: _Optional[_Iterable[str]] = ...) -> None: ...

class SourceBundle(_message.Message):
    __slots__ = ("digest", "data")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    digest: str
    data: bytes
    def __init__(self, digest: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class RegisterAppRequest(_message.Message):
    __slots__ = ("app_id", "name", "functions", "source", "ephemeral", "tags", "detached")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    DETACHED_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    name: str
    functions: _containers.RepeatedCompositeFieldContainer[FunctionDef]
    source: SourceBundle
    ephemeral: bool
    tags: _containers.ScalarMap[str, str]
    detached: bool
    def __init__(self, app_id: _Optional[str] = ..., name: _Optional[str] = ..., functions: _Optional[_Iterable[_Union[FunctionDef, _Mapping]]] = ..., source: _Optional[_Union[SourceBundle, _Mapping]] = ..., ephemeral: bool = ..., tags: _Optional[_Mapping[str, str]] = ..., detached: bool = ...) -> None: ...

class FunctionHandle(_message.Message):
    __slots__ = ("name", "function_id", "app_id", "version", "kind", "methods", "parameters", "node_token")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    NODE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    function_id: str
    app_id: str
    version: int
    kind: str
    methods: _containers.RepeatedScalarFieldContainer[str]
    parameters: _containers.RepeatedCompositeFieldContainer[ClassParameter]
    node_token: str
    def __init__(self, name: _Optional[str] = ..., function_id: _Optional[str] = ..., app_id: _Optional[str] = ..., version: _Optional[int] = ..., kind: _Optional[str] = ..., methods: _Optional[_Iterable[str]] = ..., parameters: _Optional[_Iterable[_Union[ClassParameter, _Mapping]]] = ..., node_token: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("app_id", "name", "app", "version")
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    name: str
    app: str
    version: int
    def __init__(self, app_id: _Optional[str] = ..., name: _Optional[str] = ..., app: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class DeployRequest(_message.Message):
    __slots__ = ("app", "tag", "strategy")
    APP_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    app: RegisterAppRequest
    tag: str
    strategy: str
    def __init__(self, app: _Optional[_Union[RegisterAppRequest, _Mapping]] = ..., tag: _Optional[str] = ..., strategy: _Optional[str] = ...) -> None: ...

class DeployReply(_message.Message):
    __slots__ = ("app", "unchanged", "notes")
    APP_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    app: DeployedApp
    unchanged: bool
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, app: _Optional[_Union[DeployedApp, _Mapping]] = ..., unchanged: bool = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("app", "version", "strategy", "app_id", "same")
    APP_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    SAME_FIELD_NUMBER: _ClassVar[int]
    app: str
    version: int
    strategy: str
    app_id: str
    same: bool
    def __init__(self, app: _Optional[str] = ..., version: _Optional[int] = ..., strategy: _Optional[str] = ..., app_id: _Optional[str] = ..., same: bool = ...) -> None: ...

class GiveUpDeployRequest(_message.Message):
    __slots__ = ("app_id",)
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    def __init__(self, app_id: _Optional[str] = ...) -> None: ...

class GiveUpDeployReply(_message.Message):
    __slots__ = ("live", "version")
    LIVE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    live: bool
    version: int
    def __init__(self, live: bool = ..., version: _Optional[int] = ...) -> None: ...

class StopAppRequest(_message.Message):
    __slots__ = ("app",)
    APP_FIELD_NUMBER: _ClassVar[int]
    app: str
    def __init__(self, app: _Optional[str] = ...) -> None: ...

class DeleteAppRequest(_message.Message):
    __slots__ = ("app",)
    APP_FIELD_NUMBER: _ClassVar[int]
    app: str
    def __init__(self, app: _Optional[str] = ...) -> None: ...

class DeletedApp(_message.Message):
    __slots__ = ("name", "versions", "schedules", "dead_letters")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULES_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    versions: int
    schedules: int
    dead_letters: int
    def __init__(self, name: _Optional[str] = ..., versions: _Optional[int] = ..., schedules: _Optional[int] = ..., dead_letters: _Optional[int] = ...) -> None: ...

class SetTagsRequest(_message.Message):
    __slots__ = ("app", "tags")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    APP_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    app: str
    tags: _containers.ScalarMap[str, str]
    def __init__(self, app: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ...) -> None: ...

class DeployedAppsRequest(_message.Message):
    __slots__ = ("app",)
    APP_FIELD_NUMBER: _ClassVar[int]
    app: str
    def __init__(self, app: _Optional[str] = ...) -> None: ...

class DeployedAppsReply(_message.Message):
    __slots__ = ("apps",)
    APPS_FIELD_NUMBER: _ClassVar[int]
    apps: _containers.RepeatedCompositeFieldContainer[DeployedApp]
    def __init__(self, apps: _Optional[_Iterable[_Union[DeployedApp, _Mapping]]] = ...) -> None: ...

class DeployedApp(_message.Message):
    __slots__ = ("name", "app_id", "version", "at", "stopped", "tags", "versions", "draining")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    name: str
    app_id: str
    version: int
    at: float
    stopped: bool
    tags: _containers.ScalarMap[str, str]
    versions: _containers.RepeatedCompositeFieldContainer[AppVersion]
    draining: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., app_id: _Optional[str] = ..., version: _Optional[int] = ..., at: _Optional[float] = ..., stopped: bool = ..., tags: _Optional[_Mapping[str, str]] = ..., versions: _Optional[_Iterable[_Union[AppVersion, _Mapping]]] = ..., draining: _Optional[_Iterable[str]] = ...) -> None: ...

class AppVersion(_message.Message):
    __slots__ = ("version", "app_id", "at", "tag", "strategy", "functions", "rolled_back_to", "kept")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    ROLLED_BACK_TO_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    version: int
    app_id: str
    at: float
    tag: str
    strategy: str
    functions: _containers.RepeatedScalarFieldContainer[str]
    rolled_back_to: int
    kept: bool
    def __init__(self, version: _Optional[int] = ..., app_id: _Optional[str] = ..., at: _Optional[float] = ..., tag: _Optional[str] = ..., strategy: _Optional[str] = ..., functions: _Optional[_Iterable[str]] = ..., rolled_back_to: _Optional[int] = ..., kept: bool = ...) -> None: ...

class SchedulesRequest(_message.Message):
    __slots__ = ("app",)
    APP_FIELD_NUMBER: _ClassVar[int]
    app: str
    def __init__(self, app: _Optional[str] = ...) -> None: ...

class SchedulesReply(_message.Message):
    __slots__ = ("schedules",)
    SCHEDULES_FIELD_NUMBER: _ClassVar[int]
    schedules: _containers.RepeatedCompositeFieldContainer[ScheduleStatus]
    def __init__(self, schedules: _Optional[_Iterable[_Union[ScheduleStatus, _Mapping]]] = ...) -> None: ...

class ScheduleStatus(_message.Message):
    __slots__ = ("app", "function", "schedule", "next", "runs", "missed", "last")
    APP_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    MISSED_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    app: str
    function: str
    schedule: str
    next: float
    runs: int
    missed: int
    last: _containers.RepeatedCompositeFieldContainer[ScheduledRun]
    def __init__(self, app: _Optional[str] = ..., function: _Optional[str] = ..., schedule: _Optional[str] = ..., next: _Optional[float] = ..., runs: _Optional[int] = ..., missed: _Optional[int] = ..., last: _Optional[_Iterable[_Union[ScheduledRun, _Mapping]]] = ...) -> None: ...

class ScheduledRun(_message.Message):
    __slots__ = ("due", "submitted", "call_id", "by_hand", "state", "error", "took_s")
    DUE_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    BY_HAND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TOOK_S_FIELD_NUMBER: _ClassVar[int]
    due: float
    submitted: float
    call_id: str
    by_hand: bool
    state: str
    error: str
    took_s: float
    def __init__(self, due: _Optional[float] = ..., submitted: _Optional[float] = ..., call_id: _Optional[str] = ..., by_hand: bool = ..., state: _Optional[str] = ..., error: _Optional[str] = ..., took_s: _Optional[float] = ...) -> None: ...

class RunScheduleRequest(_message.Message):
    __slots__ = ("app", "function", "call_id")
    APP_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    app: str
    function: str
    call_id: str
    def __init__(self, app: _Optional[str] = ..., function: _Optional[str] = ..., call_id: _Optional[str] = ...) -> None: ...

class VariantRequest(_message.Message):
    __slots__ = ("function_id", "fields", "spec", "replaces_secrets", "secrets", "named_secrets", "pinned")
    class SecretsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REPLACES_SECRETS_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    NAMED_SECRETS_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    fields: _containers.RepeatedScalarFieldContainer[str]
    spec: FunctionSpec
    replaces_secrets: bool
    secrets: _containers.ScalarMap[str, str]
    named_secrets: _containers.RepeatedCompositeFieldContainer[NamedSecret]
    pinned: bool
    def __init__(self, function_id: _Optional[str] = ..., fields: _Optional[_Iterable[str]] = ..., spec: _Optional[_Union[FunctionSpec, _Mapping]] = ..., replaces_secrets: bool = ..., secrets: _Optional[_Mapping[str, str]] = ..., named_secrets: _Optional[_Iterable[_Union[NamedSecret, _Mapping]]] = ..., pinned: bool = ...) -> None: ...

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
    __slots__ = ("call_id", "function_id", "params", "inputs", "last", "strategy", "submitted_ns", "depth", "read_once", "lost", "pinned", "parent")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_NS_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    READ_ONCE_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    function_id: str
    params: bytes
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    last: bool
    strategy: str
    submitted_ns: int
    depth: int
    read_once: bool
    lost: int
    pinned: bool
    parent: str
    def __init__(self, call_id: _Optional[str] = ..., function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., last: bool = ..., strategy: _Optional[str] = ..., submitted_ns: _Optional[int] = ..., depth: _Optional[int] = ..., read_once: bool = ..., lost: _Optional[int] = ..., pinned: bool = ..., parent: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("call_id", "function_id", "function", "app", "inputs", "submitted", "done", "running", "submitted_ns", "cancelled", "module")
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
    MODULE_FIELD_NUMBER: _ClassVar[int]
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
    module: str
    def __init__(self, call_id: _Optional[str] = ..., function_id: _Optional[str] = ..., function: _Optional[str] = ..., app: _Optional[str] = ..., inputs: _Optional[int] = ..., submitted: bool = ..., done: _Optional[int] = ..., running: _Optional[int] = ..., submitted_ns: _Optional[int] = ..., cancelled: bool = ..., module: _Optional[str] = ...) -> None: ...

class StopRunnerRequest(_message.Message):
    __slots__ = ("runner_id", "graceful")
    RUNNER_ID_FIELD_NUMBER: _ClassVar[int]
    GRACEFUL_FIELD_NUMBER: _ClassVar[int]
    runner_id: str
    graceful: bool
    def __init__(self, runner_id: _Optional[str] = ..., graceful: bool = ...) -> None: ...

class StopRunnerReply(_message.Message):
    __slots__ = ("agent_id",)
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    def __init__(self, agent_id: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("function_id", "params", "depth", "strategy", "measure", "patient", "pinned")
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    PATIENT_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    params: bytes
    depth: int
    strategy: str
    measure: bool
    patient: bool
    pinned: bool
    def __init__(self, function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., depth: _Optional[int] = ..., strategy: _Optional[str] = ..., measure: bool = ..., patient: bool = ..., pinned: bool = ...) -> None: ...

class LeaseReply(_message.Message):
    __slots__ = ("granted", "reason", "lease_id", "socket", "token", "runner_id", "max_payload_bytes", "began", "failure", "once", "moved")
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    RUNNER_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    BEGAN_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    ONCE_FIELD_NUMBER: _ClassVar[int]
    MOVED_FIELD_NUMBER: _ClassVar[int]
    granted: bool
    reason: str
    lease_id: str
    socket: str
    token: str
    runner_id: str
    max_payload_bytes: int
    began: RunnerBegan
    failure: Result
    once: bool
    moved: FunctionHandle
    def __init__(self, granted: bool = ..., reason: _Optional[str] = ..., lease_id: _Optional[str] = ..., socket: _Optional[str] = ..., token: _Optional[str] = ..., runner_id: _Optional[str] = ..., max_payload_bytes: _Optional[int] = ..., began: _Optional[_Union[RunnerBegan, _Mapping]] = ..., failure: _Optional[_Union[Result, _Mapping]] = ..., once: bool = ..., moved: _Optional[_Union[FunctionHandle, _Mapping]] = ...) -> None: ...

class RunnerBegan(_message.Message):
    __slots__ = ("strategy", "began_ns", "marks", "notes", "printed")
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    BEGAN_NS_FIELD_NUMBER: _ClassVar[int]
    MARKS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    PRINTED_FIELD_NUMBER: _ClassVar[int]
    strategy: str
    began_ns: int
    marks: _containers.RepeatedCompositeFieldContainer[PhaseMark]
    notes: _containers.RepeatedScalarFieldContainer[str]
    printed: bool
    def __init__(self, strategy: _Optional[str] = ..., began_ns: _Optional[int] = ..., marks: _Optional[_Iterable[_Union[PhaseMark, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ..., printed: bool = ...) -> None: ...

class SetPoolRequest(_message.Message):
    __slots__ = ("function_id", "params", "every_instance", "changes", "function", "reset", "pinned")
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    EVERY_INSTANCE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    params: bytes
    every_instance: bool
    changes: PoolChanges
    function: str
    reset: bool
    pinned: bool
    def __init__(self, function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., every_instance: bool = ..., changes: _Optional[_Union[PoolChanges, _Mapping]] = ..., function: _Optional[str] = ..., reset: bool = ..., pinned: bool = ...) -> None: ...

class PoolChanges(_message.Message):
    __slots__ = ("min_containers", "max_containers", "buffer_containers", "scaledown_window_s", "policy", "policy_options", "spare_containers")
    class PolicyOptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: OptionValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[OptionValue, _Mapping]] = ...) -> None: ...
    MIN_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    BUFFER_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    SCALEDOWN_WINDOW_S_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    POLICY_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    SPARE_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    min_containers: int
    max_containers: int
    buffer_containers: int
    scaledown_window_s: float
    policy: str
    policy_options: _containers.MessageMap[str, OptionValue]
    spare_containers: int
    def __init__(self, min_containers: _Optional[int] = ..., max_containers: _Optional[int] = ..., buffer_containers: _Optional[int] = ..., scaledown_window_s: _Optional[float] = ..., policy: _Optional[str] = ..., policy_options: _Optional[_Mapping[str, OptionValue]] = ..., spare_containers: _Optional[int] = ...) -> None: ...

class OptionValue(_message.Message):
    __slots__ = ("number", "text", "flag")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FLAG_FIELD_NUMBER: _ClassVar[int]
    number: float
    text: str
    flag: bool
    def __init__(self, number: _Optional[float] = ..., text: _Optional[str] = ..., flag: bool = ...) -> None: ...

class SetPoolReply(_message.Message):
    __slots__ = ("function", "function_ids", "settings", "notes")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_IDS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    function: str
    function_ids: _containers.RepeatedScalarFieldContainer[str]
    settings: PoolSettings
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, function: _Optional[str] = ..., function_ids: _Optional[_Iterable[str]] = ..., settings: _Optional[_Union[PoolSettings, _Mapping]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class PoolSettings(_message.Message):
    __slots__ = ("min_containers", "max_containers", "buffer_containers", "scaledown_window", "policy", "policy_options", "changed", "spare_containers")
    class PolicyOptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: OptionValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[OptionValue, _Mapping]] = ...) -> None: ...
    MIN_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    BUFFER_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    SCALEDOWN_WINDOW_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    POLICY_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    SPARE_CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    min_containers: int
    max_containers: int
    buffer_containers: int
    scaledown_window: float
    policy: str
    policy_options: _containers.MessageMap[str, OptionValue]
    changed: PoolChanges
    spare_containers: int
    def __init__(self, min_containers: _Optional[int] = ..., max_containers: _Optional[int] = ..., buffer_containers: _Optional[int] = ..., scaledown_window: _Optional[float] = ..., policy: _Optional[str] = ..., policy_options: _Optional[_Mapping[str, OptionValue]] = ..., changed: _Optional[_Union[PoolChanges, _Mapping]] = ..., spare_containers: _Optional[int] = ...) -> None: ...

class SecretRef(_message.Message):
    __slots__ = ("name", "environment", "id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    environment: str
    id: str
    def __init__(self, name: _Optional[str] = ..., environment: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class SecretInfo(_message.Message):
    __slots__ = ("name", "environment", "id", "keys", "created_ns", "updated_ns")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    CREATED_NS_FIELD_NUMBER: _ClassVar[int]
    UPDATED_NS_FIELD_NUMBER: _ClassVar[int]
    name: str
    environment: str
    id: str
    keys: _containers.RepeatedScalarFieldContainer[str]
    created_ns: int
    updated_ns: int
    def __init__(self, name: _Optional[str] = ..., environment: _Optional[str] = ..., id: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ..., created_ns: _Optional[int] = ..., updated_ns: _Optional[int] = ...) -> None: ...

class PutSecretRequest(_message.Message):
    __slots__ = ("secret", "values", "replace", "merge", "keep", "new_id")
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SECRET_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    MERGE_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    NEW_ID_FIELD_NUMBER: _ClassVar[int]
    secret: SecretRef
    values: _containers.ScalarMap[str, str]
    replace: bool
    merge: bool
    keep: bool
    new_id: str
    def __init__(self, secret: _Optional[_Union[SecretRef, _Mapping]] = ..., values: _Optional[_Mapping[str, str]] = ..., replace: bool = ..., merge: bool = ..., keep: bool = ..., new_id: _Optional[str] = ...) -> None: ...

class ListSecretsRequest(_message.Message):
    __slots__ = ("environment",)
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    environment: str
    def __init__(self, environment: _Optional[str] = ...) -> None: ...

class ListSecretsReply(_message.Message):
    __slots__ = ("secrets",)
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    secrets: _containers.RepeatedCompositeFieldContainer[SecretInfo]
    def __init__(self, secrets: _Optional[_Iterable[_Union[SecretInfo, _Mapping]]] = ...) -> None: ...

class DeleteSecretRequest(_message.Message):
    __slots__ = ("secret", "allow_missing")
    SECRET_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    secret: SecretRef
    allow_missing: bool
    def __init__(self, secret: _Optional[_Union[SecretRef, _Mapping]] = ..., allow_missing: bool = ...) -> None: ...

class DeleteSecretReply(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: bool
    def __init__(self, deleted: bool = ...) -> None: ...

class RotateSecretKeyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RotateSecretKeyReply(_message.Message):
    __slots__ = ("key_file", "sealed_again")
    KEY_FILE_FIELD_NUMBER: _ClassVar[int]
    SEALED_AGAIN_FIELD_NUMBER: _ClassVar[int]
    key_file: str
    sealed_again: int
    def __init__(self, key_file: _Optional[str] = ..., sealed_again: _Optional[int] = ...) -> None: ...

class EnvironmentRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RenameEnvironmentRequest(_message.Message):
    __slots__ = ("name", "new_name")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NEW_NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    new_name: str
    def __init__(self, name: _Optional[str] = ..., new_name: _Optional[str] = ...) -> None: ...

class ListEnvironmentsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListEnvironmentsReply(_message.Message):
    __slots__ = ("environments",)
    ENVIRONMENTS_FIELD_NUMBER: _ClassVar[int]
    environments: _containers.RepeatedCompositeFieldContainer[EnvironmentInfo]
    def __init__(self, environments: _Optional[_Iterable[_Union[EnvironmentInfo, _Mapping]]] = ...) -> None: ...

class EnvironmentInfo(_message.Message):
    __slots__ = ("name", "created", "apps", "secrets", "dicts", "queues")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    APPS_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    DICTS_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    name: str
    created: float
    apps: int
    secrets: int
    dicts: int
    queues: int
    def __init__(self, name: _Optional[str] = ..., created: _Optional[float] = ..., apps: _Optional[int] = ..., secrets: _Optional[int] = ..., dicts: _Optional[int] = ..., queues: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("function",)
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    function: str
    def __init__(self, function: _Optional[str] = ...) -> None: ...

class RecordedReply(_message.Message):
    __slots__ = ("function", "now", "running", "settings", "levels", "measured", "costs", "series")
    class LevelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: LevelCosts
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[LevelCosts, _Mapping]] = ...) -> None: ...
    class MeasuredEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bool
        def __init__(self, key: _Optional[str] = ..., value: bool = ...) -> None: ...
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    COSTS_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    function: str
    now: float
    running: bool
    settings: PoolSettings
    levels: _containers.MessageMap[str, LevelCosts]
    measured: _containers.ScalarMap[str, bool]
    costs: FunctionCosts
    series: _containers.RepeatedCompositeFieldContainer[RecordedSeries]
    def __init__(self, function: _Optional[str] = ..., now: _Optional[float] = ..., running: bool = ..., settings: _Optional[_Union[PoolSettings, _Mapping]] = ..., levels: _Optional[_Mapping[str, LevelCosts]] = ..., measured: _Optional[_Mapping[str, bool]] = ..., costs: _Optional[_Union[FunctionCosts, _Mapping]] = ..., series: _Optional[_Iterable[_Union[RecordedSeries, _Mapping]]] = ...) -> None: ...

class LevelCosts(_message.Message):
    __slots__ = ("start_s", "memory_bytes", "disk_bytes", "cpu_s", "gpus")
    START_S_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_S_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    start_s: float
    memory_bytes: int
    disk_bytes: int
    cpu_s: float
    gpus: float
    def __init__(self, start_s: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., disk_bytes: _Optional[int] = ..., cpu_s: _Optional[float] = ..., gpus: _Optional[float] = ...) -> None: ...

class FunctionCosts(_message.Message):
    __slots__ = ("starts", "sizes")
    class StartsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: StartCost
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[StartCost, _Mapping]] = ...) -> None: ...
    class SizesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    STARTS_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    starts: _containers.MessageMap[str, StartCost]
    sizes: _containers.ScalarMap[str, int]
    def __init__(self, starts: _Optional[_Mapping[str, StartCost]] = ..., sizes: _Optional[_Mapping[str, int]] = ...) -> None: ...

class StartCost(_message.Message):
    __slots__ = ("count", "p50_ms", "p95_ms")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    P50_MS_FIELD_NUMBER: _ClassVar[int]
    P95_MS_FIELD_NUMBER: _ClassVar[int]
    count: int
    p50_ms: float
    p95_ms: float
    def __init__(self, count: _Optional[int] = ..., p50_ms: _Optional[float] = ..., p95_ms: _Optional[float] = ...) -> None: ...

class RecordedSeries(_message.Message):
    __slots__ = ("params", "arrivals", "minutes", "service")
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    ARRIVALS_FIELD_NUMBER: _ClassVar[int]
    MINUTES_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    params: str
    arrivals: Arrivals
    minutes: Arrivals
    service: ServiceTimes
    def __init__(self, params: _Optional[str] = ..., arrivals: _Optional[_Union[Arrivals, _Mapping]] = ..., minutes: _Optional[_Union[Arrivals, _Mapping]] = ..., service: _Optional[_Union[ServiceTimes, _Mapping]] = ...) -> None: ...

class Arrivals(_message.Message):
    __slots__ = ("at", "count")
    AT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    at: _containers.RepeatedScalarFieldContainer[float]
    count: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, at: _Optional[_Iterable[float]] = ..., count: _Optional[_Iterable[int]] = ...) -> None: ...

class ServiceTimes(_message.Message):
    __slots__ = ("count", "mean_s", "p50_s", "p95_s")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    MEAN_S_FIELD_NUMBER: _ClassVar[int]
    P50_S_FIELD_NUMBER: _ClassVar[int]
    P95_S_FIELD_NUMBER: _ClassVar[int]
    count: int
    mean_s: float
    p50_s: float
    p95_s: float
    def __init__(self, count: _Optional[int] = ..., mean_s: _Optional[float] = ..., p50_s: _Optional[float] = ..., p95_s: _Optional[float] = ...) -> None: ...

class MetricsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MetricsReply(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class PrepareRequest(_message.Message):
    __slots__ = ("function_id", "params", "strategy", "timeout_s", "pinned")
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    params: bytes
    strategy: str
    timeout_s: float
    pinned: bool
    def __init__(self, function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., strategy: _Optional[str] = ..., timeout_s: _Optional[float] = ..., pinned: bool = ...) -> None: ...

class PrepareReply(_message.Message):
    __slots__ = ("ok", "reason", "lost", "late")
    OK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    reason: str
    lost: bool
    late: bool
    def __init__(self, ok: bool = ..., reason: _Optional[str] = ..., lost: bool = ..., late: bool = ...) -> None: ...

class LogsRequest(_message.Message):
    __slots__ = ("app_id", "after_seq", "follow", "app", "tail", "since_ns", "function", "call_id", "runner_id", "streams", "search", "until_ns")
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
    UNTIL_NS_FIELD_NUMBER: _ClassVar[int]
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
    until_ns: int
    def __init__(self, app_id: _Optional[str] = ..., after_seq: _Optional[int] = ..., follow: bool = ..., app: _Optional[str] = ..., tail: _Optional[int] = ..., since_ns: _Optional[int] = ..., function: _Optional[str] = ..., call_id: _Optional[str] = ..., runner_id: _Optional[str] = ..., streams: _Optional[_Iterable[str]] = ..., search: _Optional[str] = ..., until_ns: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("without_pools", "function_id", "pinned")
    WITHOUT_POOLS_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    without_pools: bool
    function_id: str
    pinned: bool
    def __init__(self, without_pools: bool = ..., function_id: _Optional[str] = ..., pinned: bool = ...) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("instance_id", "version", "protocol", "uptime_s", "apps", "agents", "dead_of_closed", "waiting_calls", "loop_lag_ms", "recent_starts", "redis", "kept", "objects", "damaged")
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    APPS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    DEAD_OF_CLOSED_FIELD_NUMBER: _ClassVar[int]
    WAITING_CALLS_FIELD_NUMBER: _ClassVar[int]
    LOOP_LAG_MS_FIELD_NUMBER: _ClassVar[int]
    RECENT_STARTS_FIELD_NUMBER: _ClassVar[int]
    REDIS_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    version: str
    protocol: int
    uptime_s: float
    apps: _containers.RepeatedCompositeFieldContainer[AppStatus]
    agents: _containers.RepeatedCompositeFieldContainer[AgentStatus]
    dead_of_closed: int
    waiting_calls: int
    loop_lag_ms: float
    recent_starts: _containers.RepeatedCompositeFieldContainer[StartStatus]
    redis: RedisStatus
    kept: KeptStatus
    objects: ObjectsStatus
    damaged: _containers.RepeatedCompositeFieldContainer[DamagedRecord]
    def __init__(self, instance_id: _Optional[str] = ..., version: _Optional[str] = ..., protocol: _Optional[int] = ..., uptime_s: _Optional[float] = ..., apps: _Optional[_Iterable[_Union[AppStatus, _Mapping]]] = ..., agents: _Optional[_Iterable[_Union[AgentStatus, _Mapping]]] = ..., dead_of_closed: _Optional[int] = ..., waiting_calls: _Optional[int] = ..., loop_lag_ms: _Optional[float] = ..., recent_starts: _Optional[_Iterable[_Union[StartStatus, _Mapping]]] = ..., redis: _Optional[_Union[RedisStatus, _Mapping]] = ..., kept: _Optional[_Union[KeptStatus, _Mapping]] = ..., objects: _Optional[_Union[ObjectsStatus, _Mapping]] = ..., damaged: _Optional[_Iterable[_Union[DamagedRecord, _Mapping]]] = ...) -> None: ...

class DamagedRecord(_message.Message):
    __slots__ = ("id", "kind", "name", "reason", "remedy")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    name: str
    reason: str
    remedy: str
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., reason: _Optional[str] = ..., remedy: _Optional[str] = ...) -> None: ...

class SetAsideRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ObjectsStatus(_message.Message):
    __slots__ = ("objects", "more", "through_controller", "barred", "barred_reason")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    THROUGH_CONTROLLER_FIELD_NUMBER: _ClassVar[int]
    BARRED_FIELD_NUMBER: _ClassVar[int]
    BARRED_REASON_FIELD_NUMBER: _ClassVar[int]
    objects: _containers.RepeatedCompositeFieldContainer[ObjectStatus]
    more: int
    through_controller: str
    barred: int
    barred_reason: str
    def __init__(self, objects: _Optional[_Iterable[_Union[ObjectStatus, _Mapping]]] = ..., more: _Optional[int] = ..., through_controller: _Optional[str] = ..., barred: _Optional[int] = ..., barred_reason: _Optional[str] = ...) -> None: ...

class ObjectStatus(_message.Message):
    __slots__ = ("object_id", "kind", "name", "environment", "count", "size_bytes", "partitions", "waiting", "operations")
    class OperationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    OBJECT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    object_id: str
    kind: str
    name: str
    environment: str
    count: int
    size_bytes: int
    partitions: int
    waiting: int
    operations: _containers.ScalarMap[str, int]
    def __init__(self, object_id: _Optional[str] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., environment: _Optional[str] = ..., count: _Optional[int] = ..., size_bytes: _Optional[int] = ..., partitions: _Optional[int] = ..., waiting: _Optional[int] = ..., operations: _Optional[_Mapping[str, int]] = ...) -> None: ...

class AppStatus(_message.Message):
    __slots__ = ("app_id", "name", "ephemeral", "held", "closing", "functions", "version", "draining", "on_trial")
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    ON_TRIAL_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    name: str
    ephemeral: bool
    held: bool
    closing: bool
    functions: _containers.RepeatedCompositeFieldContainer[FunctionStatus]
    version: int
    draining: bool
    on_trial: bool
    def __init__(self, app_id: _Optional[str] = ..., name: _Optional[str] = ..., ephemeral: bool = ..., held: bool = ..., closing: bool = ..., functions: _Optional[_Iterable[_Union[FunctionStatus, _Mapping]]] = ..., version: _Optional[int] = ..., draining: bool = ..., on_trial: bool = ...) -> None: ...

class FunctionStatus(_message.Message):
    __slots__ = ("function_id", "name", "undone", "queued", "in_flight", "delayed", "oldest_s", "dead", "mean_execute_ms", "last_minute", "pool")
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNDONE_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    DELAYED_FIELD_NUMBER: _ClassVar[int]
    OLDEST_S_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    MEAN_EXECUTE_MS_FIELD_NUMBER: _ClassVar[int]
    LAST_MINUTE_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    name: str
    undone: int
    queued: int
    in_flight: int
    delayed: int
    oldest_s: float
    dead: int
    mean_execute_ms: float
    last_minute: LastMinute
    pool: PoolsStatus
    def __init__(self, function_id: _Optional[str] = ..., name: _Optional[str] = ..., undone: _Optional[int] = ..., queued: _Optional[int] = ..., in_flight: _Optional[int] = ..., delayed: _Optional[int] = ..., oldest_s: _Optional[float] = ..., dead: _Optional[int] = ..., mean_execute_ms: _Optional[float] = ..., last_minute: _Optional[_Union[LastMinute, _Mapping]] = ..., pool: _Optional[_Union[PoolsStatus, _Mapping]] = ...) -> None: ...

class LastMinute(_message.Message):
    __slots__ = ("calls_per_s", "call_ms", "start_ms", "starts")
    class StartsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    CALLS_PER_S_FIELD_NUMBER: _ClassVar[int]
    CALL_MS_FIELD_NUMBER: _ClassVar[int]
    START_MS_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    calls_per_s: float
    call_ms: Percentiles
    start_ms: Percentiles
    starts: _containers.ScalarMap[str, int]
    def __init__(self, calls_per_s: _Optional[float] = ..., call_ms: _Optional[_Union[Percentiles, _Mapping]] = ..., start_ms: _Optional[_Union[Percentiles, _Mapping]] = ..., starts: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Percentiles(_message.Message):
    __slots__ = ("p50", "p95")
    P50_FIELD_NUMBER: _ClassVar[int]
    P95_FIELD_NUMBER: _ClassVar[int]
    p50: float
    p95: float
    def __init__(self, p50: _Optional[float] = ..., p95: _Optional[float] = ...) -> None: ...

class PoolsStatus(_message.Message):
    __slots__ = ("settings", "pools", "costs", "service_ms", "service_p95_ms")
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    POOLS_FIELD_NUMBER: _ClassVar[int]
    COSTS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_MS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_P95_MS_FIELD_NUMBER: _ClassVar[int]
    settings: PoolSettings
    pools: _containers.RepeatedCompositeFieldContainer[PoolStatus]
    costs: FunctionCosts
    service_ms: float
    service_p95_ms: float
    def __init__(self, settings: _Optional[_Union[PoolSettings, _Mapping]] = ..., pools: _Optional[_Iterable[_Union[PoolStatus, _Mapping]]] = ..., costs: _Optional[_Union[FunctionCosts, _Mapping]] = ..., service_ms: _Optional[float] = ..., service_p95_ms: _Optional[float] = ...) -> None: ...

class PoolStatus(_message.Message):
    __slots__ = ("params", "in_flight", "arrivals", "busy", "idle", "starting", "home", "why", "plan", "agents", "instance")
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    ARRIVALS_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    STARTING_FIELD_NUMBER: _ClassVar[int]
    HOME_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    params: str
    in_flight: int
    arrivals: int
    busy: int
    idle: int
    starting: int
    home: str
    why: str
    plan: PoolPlan
    agents: _containers.RepeatedCompositeFieldContainer[PoolAtAgent]
    instance: str
    def __init__(self, params: _Optional[str] = ..., in_flight: _Optional[int] = ..., arrivals: _Optional[int] = ..., busy: _Optional[int] = ..., idle: _Optional[int] = ..., starting: _Optional[int] = ..., home: _Optional[str] = ..., why: _Optional[str] = ..., plan: _Optional[_Union[PoolPlan, _Mapping]] = ..., agents: _Optional[_Iterable[_Union[PoolAtAgent, _Mapping]]] = ..., instance: _Optional[str] = ...) -> None: ...

class PoolAtAgent(_message.Message):
    __slots__ = ("agent_id", "report")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    report: HeldPool
    def __init__(self, agent_id: _Optional[str] = ..., report: _Optional[_Union[HeldPool, _Mapping]] = ...) -> None: ...

class AgentStatus(_message.Message):
    __slots__ = ("agent_id", "host", "pid", "connected", "joined", "max_runners", "in_flight", "last_heard_s", "stats")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNERS_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_S_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    host: str
    pid: int
    connected: bool
    joined: float
    max_runners: int
    in_flight: int
    last_heard_s: float
    stats: NodeStats
    def __init__(self, agent_id: _Optional[str] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., connected: bool = ..., joined: _Optional[float] = ..., max_runners: _Optional[int] = ..., in_flight: _Optional[int] = ..., last_heard_s: _Optional[float] = ..., stats: _Optional[_Union[NodeStats, _Mapping]] = ...) -> None: ...

class StartStatus(_message.Message):
    __slots__ = ("agent_id", "function", "function_id", "runner_id", "strategy", "ok", "reason", "at", "ms", "phases", "gpus")
    class PhasesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    RUNNER_ID_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    MS_FIELD_NUMBER: _ClassVar[int]
    PHASES_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    function: str
    function_id: str
    runner_id: str
    strategy: str
    ok: bool
    reason: str
    at: float
    ms: float
    phases: _containers.ScalarMap[str, float]
    gpus: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, agent_id: _Optional[str] = ..., function: _Optional[str] = ..., function_id: _Optional[str] = ..., runner_id: _Optional[str] = ..., strategy: _Optional[str] = ..., ok: bool = ..., reason: _Optional[str] = ..., at: _Optional[float] = ..., ms: _Optional[float] = ..., phases: _Optional[_Mapping[str, float]] = ..., gpus: _Optional[_Iterable[str]] = ...) -> None: ...

class RedisStatus(_message.Message):
    __slots__ = ("url", "up", "reason", "redis_version", "uptime_in_seconds", "used_memory", "used_memory_rss", "maxmemory", "connected_clients", "aof_enabled", "aof_last_write_status", "aof_current_size", "maxmemory_policy", "may_lose")
    URL_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REDIS_VERSION_FIELD_NUMBER: _ClassVar[int]
    UPTIME_IN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    USED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    USED_MEMORY_RSS_FIELD_NUMBER: _ClassVar[int]
    MAXMEMORY_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_CLIENTS_FIELD_NUMBER: _ClassVar[int]
    AOF_ENABLED_FIELD_NUMBER: _ClassVar[int]
    AOF_LAST_WRITE_STATUS_FIELD_NUMBER: _ClassVar[int]
    AOF_CURRENT_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAXMEMORY_POLICY_FIELD_NUMBER: _ClassVar[int]
    MAY_LOSE_FIELD_NUMBER: _ClassVar[int]
    url: str
    up: bool
    reason: str
    redis_version: str
    uptime_in_seconds: int
    used_memory: int
    used_memory_rss: int
    maxmemory: int
    connected_clients: int
    aof_enabled: int
    aof_last_write_status: str
    aof_current_size: int
    maxmemory_policy: str
    may_lose: str
    def __init__(self, url: _Optional[str] = ..., up: bool = ..., reason: _Optional[str] = ..., redis_version: _Optional[str] = ..., uptime_in_seconds: _Optional[int] = ..., used_memory: _Optional[int] = ..., used_memory_rss: _Optional[int] = ..., maxmemory: _Optional[int] = ..., connected_clients: _Optional[int] = ..., aof_enabled: _Optional[int] = ..., aof_last_write_status: _Optional[str] = ..., aof_current_size: _Optional[int] = ..., maxmemory_policy: _Optional[str] = ..., may_lose: _Optional[str] = ...) -> None: ...

class KeptStatus(_message.Message):
    __slots__ = ("calls", "seen", "of", "not_taken", "spawned_kept_s", "waited_for_kept_s")
    CALLS_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    OF_FIELD_NUMBER: _ClassVar[int]
    NOT_TAKEN_FIELD_NUMBER: _ClassVar[int]
    SPAWNED_KEPT_S_FIELD_NUMBER: _ClassVar[int]
    WAITED_FOR_KEPT_S_FIELD_NUMBER: _ClassVar[int]
    calls: int
    seen: int
    of: _containers.RepeatedCompositeFieldContainer[KeptCalls]
    not_taken: _containers.RepeatedCompositeFieldContainer[KeptCalls]
    spawned_kept_s: float
    waited_for_kept_s: float
    def __init__(self, calls: _Optional[int] = ..., seen: _Optional[int] = ..., of: _Optional[_Iterable[_Union[KeptCalls, _Mapping]]] = ..., not_taken: _Optional[_Iterable[_Union[KeptCalls, _Mapping]]] = ..., spawned_kept_s: _Optional[float] = ..., waited_for_kept_s: _Optional[float] = ...) -> None: ...

class KeptCalls(_message.Message):
    __slots__ = ("app", "function", "calls", "first_gone_in_s", "last_gone_in_s")
    APP_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    FIRST_GONE_IN_S_FIELD_NUMBER: _ClassVar[int]
    LAST_GONE_IN_S_FIELD_NUMBER: _ClassVar[int]
    app: str
    function: str
    calls: int
    first_gone_in_s: float
    last_gone_in_s: float
    def __init__(self, app: _Optional[str] = ..., function: _Optional[str] = ..., calls: _Optional[int] = ..., first_gone_in_s: _Optional[float] = ..., last_gone_in_s: _Optional[float] = ...) -> None: ...

class FetchStepSecretsRequest(_message.Message):
    __slots__ = ("secrets",)
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    secrets: _containers.RepeatedCompositeFieldContainer[NamedSecret]
    def __init__(self, secrets: _Optional[_Iterable[_Union[NamedSecret, _Mapping]]] = ...) -> None: ...

class FetchSecretsReply(_message.Message):
    __slots__ = ("values",)
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.ScalarMap[str, str]
    def __init__(self, values: _Optional[_Mapping[str, str]] = ...) -> None: ...

class FetchFunctionRequest(_message.Message):
    __slots__ = ("function_id",)
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    def __init__(self, function_id: _Optional[str] = ...) -> None: ...

class FetchFunctionReply(_message.Message):
    __slots__ = ("app_id", "function", "source", "retired", "on_trial")
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    RETIRED_FIELD_NUMBER: _ClassVar[int]
    ON_TRIAL_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    function: FunctionDef
    source: SourceBundle
    retired: bool
    on_trial: bool
    def __init__(self, app_id: _Optional[str] = ..., function: _Optional[_Union[FunctionDef, _Mapping]] = ..., source: _Optional[_Union[SourceBundle, _Mapping]] = ..., retired: bool = ..., on_trial: bool = ...) -> None: ...

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
    __slots__ = ("stats", "in_flight", "lists_in_flight")
    STATS_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    LISTS_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    stats: NodeStats
    in_flight: _containers.RepeatedCompositeFieldContainer[InFlight]
    lists_in_flight: bool
    def __init__(self, stats: _Optional[_Union[NodeStats, _Mapping]] = ..., in_flight: _Optional[_Iterable[_Union[InFlight, _Mapping]]] = ..., lists_in_flight: bool = ...) -> None: ...

class NodeStats(_message.Message):
    __slots__ = ("pid", "max_runners", "criu", "direct", "in_flight", "unconfirmed", "unconfirmed_bytes", "memory_total_bytes", "memory_available_bytes", "runners", "pools", "templates", "snapshots", "memory", "evictions", "held", "starts", "runners_lost", "restores", "measured_pss_bytes", "gpus")
    class EvictionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class RunnersLostEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: LostRunners
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[LostRunners, _Mapping]] = ...) -> None: ...
    class RestoresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: RestoreSteps
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[RestoreSteps, _Mapping]] = ...) -> None: ...
    class MeasuredPssBytesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    PID_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNERS_FIELD_NUMBER: _ClassVar[int]
    CRIU_FIELD_NUMBER: _ClassVar[int]
    DIRECT_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    UNCONFIRMED_FIELD_NUMBER: _ClassVar[int]
    UNCONFIRMED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_AVAILABLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    RUNNERS_FIELD_NUMBER: _ClassVar[int]
    POOLS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    EVICTIONS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    RUNNERS_LOST_FIELD_NUMBER: _ClassVar[int]
    RESTORES_FIELD_NUMBER: _ClassVar[int]
    MEASURED_PSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    pid: int
    max_runners: int
    criu: str
    direct: _containers.RepeatedCompositeFieldContainer[DirectCalls]
    in_flight: int
    unconfirmed: int
    unconfirmed_bytes: int
    memory_total_bytes: int
    memory_available_bytes: int
    runners: _containers.RepeatedCompositeFieldContainer[RunnerStats]
    pools: _containers.RepeatedCompositeFieldContainer[PoolStats]
    templates: _containers.RepeatedCompositeFieldContainer[TemplateStats]
    snapshots: _containers.RepeatedCompositeFieldContainer[SnapshotStats]
    memory: NodeMemory
    evictions: _containers.ScalarMap[str, int]
    held: _containers.RepeatedCompositeFieldContainer[HeldPool]
    starts: _containers.RepeatedCompositeFieldContainer[RunnerStart]
    runners_lost: _containers.MessageMap[str, LostRunners]
    restores: _containers.MessageMap[str, RestoreSteps]
    measured_pss_bytes: _containers.ScalarMap[str, int]
    gpus: NodeGpus
    def __init__(self, pid: _Optional[int] = ..., max_runners: _Optional[int] = ..., criu: _Optional[str] = ..., direct: _Optional[_Iterable[_Union[DirectCalls, _Mapping]]] = ..., in_flight: _Optional[int] = ..., unconfirmed: _Optional[int] = ..., unconfirmed_bytes: _Optional[int] = ..., memory_total_bytes: _Optional[int] = ..., memory_available_bytes: _Optional[int] = ..., runners: _Optional[_Iterable[_Union[RunnerStats, _Mapping]]] = ..., pools: _Optional[_Iterable[_Union[PoolStats, _Mapping]]] = ..., templates: _Optional[_Iterable[_Union[TemplateStats, _Mapping]]] = ..., snapshots: _Optional[_Iterable[_Union[SnapshotStats, _Mapping]]] = ..., memory: _Optional[_Union[NodeMemory, _Mapping]] = ..., evictions: _Optional[_Mapping[str, int]] = ..., held: _Optional[_Iterable[_Union[HeldPool, _Mapping]]] = ..., starts: _Optional[_Iterable[_Union[RunnerStart, _Mapping]]] = ..., runners_lost: _Optional[_Mapping[str, LostRunners]] = ..., restores: _Optional[_Mapping[str, RestoreSteps]] = ..., measured_pss_bytes: _Optional[_Mapping[str, int]] = ..., gpus: _Optional[_Union[NodeGpus, _Mapping]] = ...) -> None: ...

class NodeGpus(_message.Message):
    __slots__ = ("driver", "cuda", "reason", "devices", "waiting", "preemptions")
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    CUDA_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    PREEMPTIONS_FIELD_NUMBER: _ClassVar[int]
    driver: str
    cuda: str
    reason: str
    devices: _containers.RepeatedCompositeFieldContainer[GpuStats]
    waiting: int
    preemptions: int
    def __init__(self, driver: _Optional[str] = ..., cuda: _Optional[str] = ..., reason: _Optional[str] = ..., devices: _Optional[_Iterable[_Union[GpuStats, _Mapping]]] = ..., waiting: _Optional[int] = ..., preemptions: _Optional[int] = ...) -> None: ...

class GpuStats(_message.Message):
    __slots__ = ("uuid", "index", "name", "model", "profile", "memory_bytes", "used_bytes", "foreign_bytes", "busy_percent", "runners", "links", "numa_node", "loans", "holder")
    UUID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_BYTES_FIELD_NUMBER: _ClassVar[int]
    BUSY_PERCENT_FIELD_NUMBER: _ClassVar[int]
    RUNNERS_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    NUMA_NODE_FIELD_NUMBER: _ClassVar[int]
    LOANS_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    uuid: str
    index: int
    name: str
    model: str
    profile: str
    memory_bytes: int
    used_bytes: int
    foreign_bytes: int
    busy_percent: int
    runners: _containers.RepeatedScalarFieldContainer[str]
    links: _containers.RepeatedCompositeFieldContainer[GpuLink]
    numa_node: int
    loans: _containers.RepeatedCompositeFieldContainer[GpuLoan]
    holder: GpuHolder
    def __init__(self, uuid: _Optional[str] = ..., index: _Optional[int] = ..., name: _Optional[str] = ..., model: _Optional[str] = ..., profile: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ..., foreign_bytes: _Optional[int] = ..., busy_percent: _Optional[int] = ..., runners: _Optional[_Iterable[str]] = ..., links: _Optional[_Iterable[_Union[GpuLink, _Mapping]]] = ..., numa_node: _Optional[int] = ..., loans: _Optional[_Iterable[_Union[GpuLoan, _Mapping]]] = ..., holder: _Optional[_Union[GpuHolder, _Mapping]] = ...) -> None: ...

class GpuLoan(_message.Message):
    __slots__ = ("to", "function")
    TO_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    to: str
    function: str
    def __init__(self, to: _Optional[str] = ..., function: _Optional[str] = ...) -> None: ...

class GpuHolder(_message.Message):
    __slots__ = ("pid", "held_bytes", "budget_bytes", "weights")
    PID_FIELD_NUMBER: _ClassVar[int]
    HELD_BYTES_FIELD_NUMBER: _ClassVar[int]
    BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    pid: int
    held_bytes: int
    budget_bytes: int
    weights: _containers.RepeatedCompositeFieldContainer[HeldWeights]
    def __init__(self, pid: _Optional[int] = ..., held_bytes: _Optional[int] = ..., budget_bytes: _Optional[int] = ..., weights: _Optional[_Iterable[_Union[HeldWeights, _Mapping]]] = ...) -> None: ...

class HeldWeights(_message.Message):
    __slots__ = ("function", "size_bytes", "users", "is_loading")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    IS_LOADING_FIELD_NUMBER: _ClassVar[int]
    function: str
    size_bytes: int
    users: int
    is_loading: bool
    def __init__(self, function: _Optional[str] = ..., size_bytes: _Optional[int] = ..., users: _Optional[int] = ..., is_loading: bool = ...) -> None: ...

class GpuLink(_message.Message):
    __slots__ = ("to", "how")
    TO_FIELD_NUMBER: _ClassVar[int]
    HOW_FIELD_NUMBER: _ClassVar[int]
    to: str
    how: str
    def __init__(self, to: _Optional[str] = ..., how: _Optional[str] = ...) -> None: ...

class DirectCalls(_message.Message):
    __slots__ = ("function_id", "params", "calls", "failures", "busy_s", "leases")
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    BUSY_S_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    params: bytes
    calls: int
    failures: int
    busy_s: float
    leases: int
    def __init__(self, function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., calls: _Optional[int] = ..., failures: _Optional[int] = ..., busy_s: _Optional[float] = ..., leases: _Optional[int] = ...) -> None: ...

class RunnerStats(_message.Message):
    __slots__ = ("id", "function", "function_id", "app_id", "state", "strategy", "inputs", "pid", "idle_s", "age_s", "pss_bytes", "gpus")
    ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    IDLE_S_FIELD_NUMBER: _ClassVar[int]
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    PSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    id: str
    function: str
    function_id: str
    app_id: str
    state: str
    strategy: str
    inputs: int
    pid: int
    idle_s: float
    age_s: float
    pss_bytes: int
    gpus: RunnerGpus
    def __init__(self, id: _Optional[str] = ..., function: _Optional[str] = ..., function_id: _Optional[str] = ..., app_id: _Optional[str] = ..., state: _Optional[str] = ..., strategy: _Optional[str] = ..., inputs: _Optional[int] = ..., pid: _Optional[int] = ..., idle_s: _Optional[float] = ..., age_s: _Optional[float] = ..., pss_bytes: _Optional[int] = ..., gpus: _Optional[_Union[RunnerGpus, _Mapping]] = ...) -> None: ...

class RunnerGpus(_message.Message):
    __slots__ = ("uuids", "gpus", "share_bytes", "used_bytes", "busy_percent")
    UUIDS_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    SHARE_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    BUSY_PERCENT_FIELD_NUMBER: _ClassVar[int]
    uuids: _containers.RepeatedScalarFieldContainer[str]
    gpus: float
    share_bytes: int
    used_bytes: int
    busy_percent: int
    def __init__(self, uuids: _Optional[_Iterable[str]] = ..., gpus: _Optional[float] = ..., share_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ..., busy_percent: _Optional[int] = ...) -> None: ...

class PoolStats(_message.Message):
    __slots__ = ("function", "function_id", "app_id", "waiting", "starting", "service_s", "failed_starts", "deaths", "backoff_s")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    STARTING_FIELD_NUMBER: _ClassVar[int]
    SERVICE_S_FIELD_NUMBER: _ClassVar[int]
    FAILED_STARTS_FIELD_NUMBER: _ClassVar[int]
    DEATHS_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_S_FIELD_NUMBER: _ClassVar[int]
    function: str
    function_id: str
    app_id: str
    waiting: int
    starting: int
    service_s: float
    failed_starts: int
    deaths: int
    backoff_s: float
    def __init__(self, function: _Optional[str] = ..., function_id: _Optional[str] = ..., app_id: _Optional[str] = ..., waiting: _Optional[int] = ..., starting: _Optional[int] = ..., service_s: _Optional[float] = ..., failed_starts: _Optional[int] = ..., deaths: _Optional[int] = ..., backoff_s: _Optional[float] = ...) -> None: ...

class TemplateStats(_message.Message):
    __slots__ = ("id", "function", "app", "pid", "params")
    ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    id: str
    function: str
    app: str
    pid: int
    params: str
    def __init__(self, id: _Optional[str] = ..., function: _Optional[str] = ..., app: _Optional[str] = ..., pid: _Optional[int] = ..., params: _Optional[str] = ...) -> None: ...

class SnapshotStats(_message.Message):
    __slots__ = ("function", "app", "state", "reason", "key", "fork_unsafe", "progress", "params")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    FORK_UNSAFE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    function: str
    app: str
    state: str
    reason: str
    key: str
    fork_unsafe: _containers.RepeatedScalarFieldContainer[str]
    progress: SnapshotProgress
    params: str
    def __init__(self, function: _Optional[str] = ..., app: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., key: _Optional[str] = ..., fork_unsafe: _Optional[_Iterable[str]] = ..., progress: _Optional[_Union[SnapshotProgress, _Mapping]] = ..., params: _Optional[str] = ...) -> None: ...

class SnapshotProgress(_message.Message):
    __slots__ = ("step", "written_bytes", "elapsed_s")
    STEP_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BYTES_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_S_FIELD_NUMBER: _ClassVar[int]
    step: str
    written_bytes: int
    elapsed_s: float
    def __init__(self, step: _Optional[str] = ..., written_bytes: _Optional[int] = ..., elapsed_s: _Optional[float] = ...) -> None: ...

class NodeMemory(_message.Message):
    __slots__ = ("budget_bytes", "held_bytes", "rss_bytes", "pss_bytes", "mapped_bytes", "cached_bytes", "snapshot_store_bytes", "evicted")
    BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    HELD_BYTES_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    PSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAPPED_BYTES_FIELD_NUMBER: _ClassVar[int]
    CACHED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_STORE_BYTES_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    budget_bytes: int
    held_bytes: int
    rss_bytes: int
    pss_bytes: int
    mapped_bytes: int
    cached_bytes: int
    snapshot_store_bytes: int
    evicted: _containers.RepeatedCompositeFieldContainer[Eviction]
    def __init__(self, budget_bytes: _Optional[int] = ..., held_bytes: _Optional[int] = ..., rss_bytes: _Optional[int] = ..., pss_bytes: _Optional[int] = ..., mapped_bytes: _Optional[int] = ..., cached_bytes: _Optional[int] = ..., snapshot_store_bytes: _Optional[int] = ..., evicted: _Optional[_Iterable[_Union[Eviction, _Mapping]]] = ...) -> None: ...

class Eviction(_message.Message):
    __slots__ = ("seq", "function", "function_id", "what", "priority", "bytes", "idle_s", "reason")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    IDLE_S_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    seq: int
    function: str
    function_id: str
    what: str
    priority: float
    bytes: int
    idle_s: float
    reason: str
    def __init__(self, seq: _Optional[int] = ..., function: _Optional[str] = ..., function_id: _Optional[str] = ..., what: _Optional[str] = ..., priority: _Optional[float] = ..., bytes: _Optional[int] = ..., idle_s: _Optional[float] = ..., reason: _Optional[str] = ...) -> None: ...

class HeldPool(_message.Message):
    __slots__ = ("function_id", "params", "busy", "idle", "starting", "waiting", "quiet_s", "level", "below", "wanted", "why", "runner_bytes", "runner_pss_bytes", "template_bytes", "template_private_bytes", "booted_bytes", "booted_private_bytes", "snapshot_bytes", "cached_bytes", "mapped", "threads", "working_set_bytes", "spares", "spare_bytes", "runner_gpus", "runner_gpu_bytes")
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    STARTING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    QUIET_S_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    BELOW_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    RUNNER_BYTES_FIELD_NUMBER: _ClassVar[int]
    RUNNER_PSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_PRIVATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    BOOTED_BYTES_FIELD_NUMBER: _ClassVar[int]
    BOOTED_PRIVATE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_BYTES_FIELD_NUMBER: _ClassVar[int]
    CACHED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAPPED_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    WORKING_SET_BYTES_FIELD_NUMBER: _ClassVar[int]
    SPARES_FIELD_NUMBER: _ClassVar[int]
    SPARE_BYTES_FIELD_NUMBER: _ClassVar[int]
    RUNNER_GPUS_FIELD_NUMBER: _ClassVar[int]
    RUNNER_GPU_BYTES_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    params: str
    busy: int
    idle: int
    starting: int
    waiting: int
    quiet_s: float
    level: str
    below: str
    wanted: str
    why: str
    runner_bytes: int
    runner_pss_bytes: int
    template_bytes: int
    template_private_bytes: int
    booted_bytes: int
    booted_private_bytes: int
    snapshot_bytes: int
    cached_bytes: int
    mapped: bool
    threads: int
    working_set_bytes: int
    spares: int
    spare_bytes: int
    runner_gpus: float
    runner_gpu_bytes: int
    def __init__(self, function_id: _Optional[str] = ..., params: _Optional[str] = ..., busy: _Optional[int] = ..., idle: _Optional[int] = ..., starting: _Optional[int] = ..., waiting: _Optional[int] = ..., quiet_s: _Optional[float] = ..., level: _Optional[str] = ..., below: _Optional[str] = ..., wanted: _Optional[str] = ..., why: _Optional[str] = ..., runner_bytes: _Optional[int] = ..., runner_pss_bytes: _Optional[int] = ..., template_bytes: _Optional[int] = ..., template_private_bytes: _Optional[int] = ..., booted_bytes: _Optional[int] = ..., booted_private_bytes: _Optional[int] = ..., snapshot_bytes: _Optional[int] = ..., cached_bytes: _Optional[int] = ..., mapped: bool = ..., threads: _Optional[int] = ..., working_set_bytes: _Optional[int] = ..., spares: _Optional[int] = ..., spare_bytes: _Optional[int] = ..., runner_gpus: _Optional[float] = ..., runner_gpu_bytes: _Optional[int] = ...) -> None: ...

class RunnerStart(_message.Message):
    __slots__ = ("seq", "at_ns", "function", "function_id", "runner_id", "strategy", "phases_ms", "notes", "error", "params", "from_disk", "gpus")
    class PhasesMsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    SEQ_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    RUNNER_ID_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    PHASES_MS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    FROM_DISK_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    at_ns: int
    function: str
    function_id: str
    runner_id: str
    strategy: str
    phases_ms: _containers.ScalarMap[str, float]
    notes: _containers.RepeatedScalarFieldContainer[str]
    error: str
    params: str
    from_disk: bool
    gpus: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, seq: _Optional[int] = ..., at_ns: _Optional[int] = ..., function: _Optional[str] = ..., function_id: _Optional[str] = ..., runner_id: _Optional[str] = ..., strategy: _Optional[str] = ..., phases_ms: _Optional[_Mapping[str, float]] = ..., notes: _Optional[_Iterable[str]] = ..., error: _Optional[str] = ..., params: _Optional[str] = ..., from_disk: bool = ..., gpus: _Optional[_Iterable[str]] = ...) -> None: ...

class LostRunners(_message.Message):
    __slots__ = ("by_reason",)
    class ByReasonEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    BY_REASON_FIELD_NUMBER: _ClassVar[int]
    by_reason: _containers.ScalarMap[str, int]
    def __init__(self, by_reason: _Optional[_Mapping[str, int]] = ...) -> None: ...

class RestoreSteps(_message.Message):
    __slots__ = ("spawn_criu", "criu", "resume", "reseed")
    SPAWN_CRIU_FIELD_NUMBER: _ClassVar[int]
    CRIU_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    RESEED_FIELD_NUMBER: _ClassVar[int]
    spawn_criu: float
    criu: float
    resume: float
    reseed: float
    def __init__(self, spawn_criu: _Optional[float] = ..., criu: _Optional[float] = ..., resume: _Optional[float] = ..., reseed: _Optional[float] = ...) -> None: ...

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
    __slots__ = ("request_id", "ok", "reason", "late")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    ok: bool
    reason: str
    late: bool
    def __init__(self, request_id: _Optional[str] = ..., ok: bool = ..., reason: _Optional[str] = ..., late: bool = ...) -> None: ...

class AppRetired(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class PythonTold(_message.Message):
    __slots__ = ("request_id", "note")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    note: str
    def __init__(self, request_id: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class AppClosed(_message.Message):
    __slots__ = ("app_id", "request_id")
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    request_id: str
    def __init__(self, app_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("request_id", "ok", "reason", "socket", "token", "runner_id", "began", "failure", "once")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    RUNNER_ID_FIELD_NUMBER: _ClassVar[int]
    BEGAN_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    ONCE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    ok: bool
    reason: str
    socket: str
    token: str
    runner_id: str
    began: RunnerBegan
    failure: Result
    once: bool
    def __init__(self, request_id: _Optional[str] = ..., ok: bool = ..., reason: _Optional[str] = ..., socket: _Optional[str] = ..., token: _Optional[str] = ..., runner_id: _Optional[str] = ..., began: _Optional[_Union[RunnerBegan, _Mapping]] = ..., failure: _Optional[_Union[Result, _Mapping]] = ..., once: bool = ...) -> None: ...

class AgentMessage(_message.Message):
    __slots__ = ("hello", "heartbeat", "done", "log", "prepared", "returned", "app_closed", "lease", "nested", "leaves", "retired", "python_told")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    APP_CLOSED_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    NESTED_FIELD_NUMBER: _ClassVar[int]
    LEAVES_FIELD_NUMBER: _ClassVar[int]
    RETIRED_FIELD_NUMBER: _ClassVar[int]
    PYTHON_TOLD_FIELD_NUMBER: _ClassVar[int]
    hello: AgentHello
    heartbeat: Heartbeat
    done: Done
    log: LogLine
    prepared: PrepareDone
    returned: InputsReturned
    app_closed: AppClosed
    lease: LeaseGranted
    nested: NestedCalls
    leaves: AgentLeaves
    retired: AppRetired
    python_told: PythonTold
    def __init__(self, hello: _Optional[_Union[AgentHello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., done: _Optional[_Union[Done, _Mapping]] = ..., log: _Optional[_Union[LogLine, _Mapping]] = ..., prepared: _Optional[_Union[PrepareDone, _Mapping]] = ..., returned: _Optional[_Union[InputsReturned, _Mapping]] = ..., app_closed: _Optional[_Union[AppClosed, _Mapping]] = ..., lease: _Optional[_Union[LeaseGranted, _Mapping]] = ..., nested: _Optional[_Union[NestedCalls, _Mapping]] = ..., leaves: _Optional[_Union[AgentLeaves, _Mapping]] = ..., retired: _Optional[_Union[AppRetired, _Mapping]] = ..., python_told: _Optional[_Union[PythonTold, _Mapping]] = ...) -> None: ...

class AgentLeaves(_message.Message):
    __slots__ = ("reason", "ended")
    REASON_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    reason: str
    ended: bool
    def __init__(self, reason: _Optional[str] = ..., ended: bool = ...) -> None: ...

class NestedCalls(_message.Message):
    __slots__ = ("calls",)
    CALLS_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[NestedCall]
    def __init__(self, calls: _Optional[_Iterable[_Union[NestedCall, _Mapping]]] = ...) -> None: ...

class NestedCall(_message.Message):
    __slots__ = ("parent", "call_id", "index", "function_id", "function", "status", "runner_id", "module")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RUNNER_ID_FIELD_NUMBER: _ClassVar[int]
    MODULE_FIELD_NUMBER: _ClassVar[int]
    parent: str
    call_id: str
    index: int
    function_id: str
    function: str
    status: ResultStatus
    runner_id: str
    module: str
    def __init__(self, parent: _Optional[str] = ..., call_id: _Optional[str] = ..., index: _Optional[int] = ..., function_id: _Optional[str] = ..., function: _Optional[str] = ..., status: _Optional[_Union[ResultStatus, str]] = ..., runner_id: _Optional[str] = ..., module: _Optional[str] = ...) -> None: ...

class Assign(_message.Message):
    __slots__ = ("call_id", "inputs", "function_id", "params", "strategy", "submitted_ns", "delivery", "app_id", "depth", "suspect", "others_wait")
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
    OTHERS_WAIT_FIELD_NUMBER: _ClassVar[int]
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
    others_wait: bool
    def __init__(self, call_id: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., strategy: _Optional[str] = ..., submitted_ns: _Optional[int] = ..., delivery: _Optional[int] = ..., app_id: _Optional[str] = ..., depth: _Optional[int] = ..., suspect: bool = ..., others_wait: bool = ...) -> None: ...

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
    __slots__ = ("request_id", "function_id", "params", "lease_id", "depth", "max_payload_bytes", "strategy", "measure", "patient")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    MAX_PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    PATIENT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    function_id: str
    params: bytes
    lease_id: str
    depth: int
    max_payload_bytes: int
    strategy: str
    measure: bool
    patient: bool
    def __init__(self, request_id: _Optional[str] = ..., function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., lease_id: _Optional[str] = ..., depth: _Optional[int] = ..., max_payload_bytes: _Optional[int] = ..., strategy: _Optional[str] = ..., measure: bool = ..., patient: bool = ...) -> None: ...

class FollowPlan(_message.Message):
    __slots__ = ("function_id", "params", "every_instance", "plan")
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    EVERY_INSTANCE_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    params: bytes
    every_instance: bool
    plan: PoolPlan
    def __init__(self, function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., every_instance: bool = ..., plan: _Optional[_Union[PoolPlan, _Mapping]] = ...) -> None: ...

class PoolPlan(_message.Message):
    __slots__ = ("runners", "buffer", "active_s", "keep_s", "max_runners", "patience_s", "base", "rest", "priority", "again_s", "why", "spares", "ahead")
    class PriorityEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    RUNNERS_FIELD_NUMBER: _ClassVar[int]
    BUFFER_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_S_FIELD_NUMBER: _ClassVar[int]
    KEEP_S_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNERS_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_S_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    REST_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    AGAIN_S_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    SPARES_FIELD_NUMBER: _ClassVar[int]
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    runners: int
    buffer: int
    active_s: float
    keep_s: float
    max_runners: int
    patience_s: float
    base: str
    rest: _containers.RepeatedCompositeFieldContainer[RestStep]
    priority: _containers.ScalarMap[str, float]
    again_s: float
    why: str
    spares: int
    ahead: bool
    def __init__(self, runners: _Optional[int] = ..., buffer: _Optional[int] = ..., active_s: _Optional[float] = ..., keep_s: _Optional[float] = ..., max_runners: _Optional[int] = ..., patience_s: _Optional[float] = ..., base: _Optional[str] = ..., rest: _Optional[_Iterable[_Union[RestStep, _Mapping]]] = ..., priority: _Optional[_Mapping[str, float]] = ..., again_s: _Optional[float] = ..., why: _Optional[str] = ..., spares: _Optional[int] = ..., ahead: bool = ...) -> None: ...

class RestStep(_message.Message):
    __slots__ = ("level", "for_s")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    FOR_S_FIELD_NUMBER: _ClassVar[int]
    level: str
    for_s: float
    def __init__(self, level: _Optional[str] = ..., for_s: _Optional[float] = ...) -> None: ...

class CloseAppOnAgent(_message.Message):
    __slots__ = ("app_id", "drain", "recreate", "request_id")
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    RECREATE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    drain: bool
    recreate: bool
    request_id: str
    def __init__(self, app_id: _Optional[str] = ..., drain: bool = ..., recreate: bool = ..., request_id: _Optional[str] = ...) -> None: ...

class OpenFunction(_message.Message):
    __slots__ = ("function_id", "app_id", "deployed")
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    DEPLOYED_FIELD_NUMBER: _ClassVar[int]
    function_id: str
    app_id: str
    deployed: bool
    def __init__(self, function_id: _Optional[str] = ..., app_id: _Optional[str] = ..., deployed: bool = ...) -> None: ...

class AppIsLive(_message.Message):
    __slots__ = ("app_id",)
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    def __init__(self, app_id: _Optional[str] = ...) -> None: ...

class RetireApp(_message.Message):
    __slots__ = ("app_id", "request_id")
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    app_id: str
    request_id: str
    def __init__(self, app_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class TellPython(_message.Message):
    __slots__ = ("request_id", "function_id")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    function_id: str
    def __init__(self, request_id: _Optional[str] = ..., function_id: _Optional[str] = ...) -> None: ...

class PrepareOnAgent(_message.Message):
    __slots__ = ("request_id", "function_id", "params", "strategy", "timeout_s", "ends")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    function_id: str
    params: bytes
    strategy: str
    timeout_s: float
    ends: bool
    def __init__(self, request_id: _Optional[str] = ..., function_id: _Optional[str] = ..., params: _Optional[bytes] = ..., strategy: _Optional[str] = ..., timeout_s: _Optional[float] = ..., ends: bool = ...) -> None: ...

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
    __slots__ = ("welcome", "assign", "ack", "cancel", "close_app", "open", "prepare", "lease", "plan", "stop_runner", "live", "retire", "tell_python")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ASSIGN_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    CLOSE_APP_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    STOP_RUNNER_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    RETIRE_FIELD_NUMBER: _ClassVar[int]
    TELL_PYTHON_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    assign: Assign
    ack: AckDone
    cancel: CancelInputs
    close_app: CloseAppOnAgent
    open: OpenFunction
    prepare: PrepareOnAgent
    lease: GrantLease
    plan: FollowPlan
    stop_runner: StopRunnerRequest
    live: AppIsLive
    retire: RetireApp
    tell_python: TellPython
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., assign: _Optional[_Union[Assign, _Mapping]] = ..., ack: _Optional[_Union[AckDone, _Mapping]] = ..., cancel: _Optional[_Union[CancelInputs, _Mapping]] = ..., close_app: _Optional[_Union[CloseAppOnAgent, _Mapping]] = ..., open: _Optional[_Union[OpenFunction, _Mapping]] = ..., prepare: _Optional[_Union[PrepareOnAgent, _Mapping]] = ..., lease: _Optional[_Union[GrantLease, _Mapping]] = ..., plan: _Optional[_Union[FollowPlan, _Mapping]] = ..., stop_runner: _Optional[_Union[StopRunnerRequest, _Mapping]] = ..., live: _Optional[_Union[AppIsLive, _Mapping]] = ..., retire: _Optional[_Union[RetireApp, _Mapping]] = ..., tell_python: _Optional[_Union[TellPython, _Mapping]] = ...) -> None: ...
