"""Every public name of Modal's client: it is here with its parameters, or says what to use instead.

The lists are those of version 1.6. What is not here stands in the table of
docs/coming-from-modal.md, too.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import rekindle
from rekindle.exception import Error, InvalidError, UnknownNameError

TABLE = (Path(__file__).parents[2] / "docs" / "coming-from-modal.md").read_text()

NAMES = """
    App Client Cluster Cls Cron Dict Environment Error FilePatternMatcher Function FunctionCall
    Image NetworkFileSystem Period Probe Proxy Queue Retries CloudBucketMount Sandbox
    SandboxSnapshot SchedulerPlacement Secret Server Tunnel Volume Workspace asgi_app batched
    clustered concurrent current_function_call_id current_input_id enable_output enter exit
    fastapi_endpoint forward interact is_local method parameter sessioned web_endpoint web_server
    wsgi_app billing experimental types Stub Mount SharedVolume
"""

#: Modules of the client, from which programs import: none of them is one of ours.
MODULES = """
    app call_graph client cloud_bucket_mount cls config container_process dict environments file_io
    file_pattern_matcher functions image io_streams mount network_file_system object output
    partial_function queue retries runner sandbox schedule schedules secret stream_type volume
    billing experimental types
"""

MEMBERS = {
    "App": """
        function cls server local_entrypoint run deploy lookup include stop set_tags get_tags info
        stats logs sandboxes app_id description get_dashboard_url registered_functions
        registered_classes registered_entrypoints is_inside
    """,
    "Function": """
        remote remote_gen local spawn map starmap for_each spawn_map experimental_spawn_map
        from_name from_id with_options with_concurrency with_batching autoscaler update_autoscaler
        info stats get_current_stats logs metrics get_web_url get_dashboard_url hydrate object_id
    """,
    "Cls": "from_name with_options with_concurrency with_batching hydrate object_id",
    "FunctionCall": """
        get iter num_inputs gather cancel from_id get_call_graph logs object_id get_dashboard_url
        get_gen hydrate
    """,
    "Dict": """
        from_name from_id ephemeral objects info name object_id hydrate get put pop contains update
        len clear keys values items __getitem__ __setitem__ __contains__ __delitem__
        new persisted delete
    """,
    "Queue": """
        from_name from_id ephemeral objects info name object_id hydrate put put_many get get_many
        len clear iterate new persisted delete
    """,
    "Secret": """
        from_name from_id from_dict from_dotenv from_local_environ update objects info name
        object_id hydrate ephemeral create_deployed delete
    """,
    "Volume": """
        from_name from_id ephemeral objects info name object_id hydrate with_mount_options commit
        reload listdir iterdir read_file remove_file copy_files batch_upload rename persisted
        new create_deployed delete
    """,
    "Image": """
        debian_slim micromamba from_registry from_dockerfile from_aws_ecr
        from_gcp_artifact_registry from_scratch from_id from_name publish pip_install
        uv_pip_install uv_sync pip_install_from_requirements pip_install_from_pyproject
        pip_install_private_repos poetry_install_from_file micromamba_install apt_install
        run_commands dockerfile_commands env workdir entrypoint cmd shell pipe build run_function
        add_local_file add_local_dir add_local_python_source imports copy_local_file copy_local_dir
        copy_mount from_dockerhub conda conda_install extend hydrate
    """,
    "Environment": "from_name from_context objects name hydrate",
    "FilePatternMatcher": "from_file",
}

#: Those that are called as ``x.aio(...)``, too. Of blocks: ``async with app.run.aio():``.
WITH_AIO = """
    App.run App.deploy App.stop App.set_tags App.get_tags App.lookup
    Function.remote Function.remote_gen Function.spawn Function.map Function.starmap
    Function.for_each Function.spawn_map Function.experimental_spawn_map Function.hydrate
    Function.update_autoscaler Function.get_current_stats Cls.hydrate
    FunctionCall.get FunctionCall.iter FunctionCall.num_inputs FunctionCall.gather
    FunctionCall.cancel FunctionCall.get_call_graph FunctionCall.hydrate
    Dict.ephemeral Dict.info Dict.hydrate Dict.get Dict.put Dict.pop Dict.contains Dict.update
    Dict.len Dict.clear Dict.keys Dict.values Dict.items
    Queue.ephemeral Queue.info Queue.hydrate Queue.put Queue.put_many Queue.get Queue.get_many
    Queue.len Queue.clear Queue.iterate Secret.info Secret.update
    Volume.ephemeral Volume.info Volume.commit Volume.reload Volume.listdir Volume.iterdir
    Volume.read_file Volume.read_file_into_fileobj Volume.remove_file Volume.copy_files
    Volume.batch_upload Volume.rename Environment.hydrate
"""

#: What their parameters are called. Of decorators' keywords: ``KEYWORDS``.
SIGNATURES = {
    "App": "name tags image secrets volumes include_source",
    "App.run": "name client detach interactive environment_name",
    "App.lookup": "name client environment_name create_if_missing",
    "App.include": "other_app inherit_tags",
    "App.local_entrypoint": "name",
    "Function.from_name": "app_name name version environment_name client",
    "Function.map": "iterators kwargs order_outputs return_exceptions wrap_returned_exceptions",
    "Function.starmap": """
        input_iterator kwargs order_outputs return_exceptions wrap_returned_exceptions
    """,
    "Function.for_each": "iterators kwargs ignore_exceptions",
    "Function.spawn_map": "iterators kwargs",
    "Function.with_concurrency": "max_inputs target_inputs",
    "Function.with_batching": "max_batch_size wait_ms",
    "Cls.from_name": "app_name name version environment_name client",
    "FunctionCall.from_id": "function_call_id client",
    "FunctionCall.iter": "start end",
    "FunctionCall.cancel": "terminate_containers",
    "Dict.from_name": "name environment_name create_if_missing client",
    "Dict.from_id": "object_id client",
    "Dict.ephemeral": "client environment_name",
    "Dict.get": "key default",
    "Dict.put": "key value skip_if_exists",
    "Dict.pop": "key default",
    "Queue.from_name": "name environment_name create_if_missing client",
    "Queue.put": "v block timeout partition partition_ttl",
    "Queue.put_many": "vs block timeout partition partition_ttl",
    "Queue.get": "block timeout partition",
    "Queue.get_many": "n_values block timeout partition",
    "Queue.len": "partition total",
    "Queue.clear": "partition all",
    "Queue.iterate": "partition item_poll_timeout",
    "Secret.from_name": "name environment_name required_keys client",
    "Secret.from_dict": "env_dict",
    "Secret.from_dotenv": "path filename",
    "Secret.from_local_environ": "env_keys",
    "Secret.update": "env_dict",
    "Volume.from_name": "name environment_name create_if_missing version client",
    "Volume.from_id": "object_id client",
    "Volume.with_mount_options": "read_only sub_path",
    "Volume.listdir": "path recursive",
    "Volume.read_file": "path",
    "Volume.remove_file": "path recursive",
    "Volume.copy_files": "src_paths dst_path recursive",
    "Volume.batch_upload": "force",
    "Image.debian_slim": "python_version",
    "Image.from_registry": "tag setup_dockerfile_commands add_python",
    "Image.from_dockerfile": "path context_dir ignore build_args add_python",
    "Image.run_function": "raw_f timeout args kwargs env secrets volumes force_build",
    "Image.run_commands": "commands env secrets volumes force_build",
    "Image.add_local_dir": "local_path remote_path copy ignore",
    "Image.add_local_file": "local_path remote_path copy",
    "Image.add_local_python_source": "modules copy ignore",
    "Environment.from_name": "name create_if_missing client",
    "parameter": "default init",
    "method": "is_generator",
    "enter": "snap",
    "concurrent": "max_inputs target_inputs",
    "batched": "max_batch_size wait_ms",
    "Retries": "max_retries backoff_coefficient initial_delay max_delay",
    "Cron": "cron_string timezone",
    "Period": "years months weeks days hours minutes seconds",
    "CloudBucketMount": """
        bucket_name bucket_endpoint_url key_prefix secret oidc_auth_role_arn read_only
        requester_pays force_path_style
    """,
}

#: Of ``app.function``, with a value that means something there. ``app.cls`` has most of them.
KEYWORDS: dict[str, Any] = {
    "image": None,
    "schedule": None,
    "env": {"A": "1"},
    "secrets": [],
    "gpu": None,
    "serialized": True,
    "volumes": {},
    "cpu": 0.5,
    "memory": 128,
    "min_containers": 1,
    "max_containers": 2,
    "buffer_containers": 1,
    "scaledown_window": 60,
    "retries": 2,
    "timeout": 300,
    "startup_timeout": 60,
    "name": "f",
    "is_generator": False,
    "enable_memory_snapshot": False,
    "single_use_containers": False,
    "include_source": True,
    "experimental_options": {},
}
REFUSED = """
    network_file_systems ephemeral_disk proxy cloud region routing_region nonpreemptible
    block_network restrict_modal_access i6pn _experimental_restrict_output max_inputs
"""
OF_FUNCTIONS_ALONE = {"schedule", "name", "is_generator"}

ERRORS = """
    Error AlreadyExistsError AuthError InternalError InvalidError ConflictError DataLossError
    NotFoundError PermissionDeniedError ResourceExhaustedError ServiceError UnimplementedError
    RemoteError ImageBuildError TimeoutError FunctionTimeoutError SandboxTimeoutError
    ExecTimeoutError MountUploadTimeoutError VolumeUploadTimeoutError InteractiveTimeoutError
    OutputExpiredError ConnectionError VersionError ExecutionError DeserializationError
    SerializationError RequestSizeError SandboxTerminatedError LogsFetchError ClientClosed
    InternalFailure SandboxFilesystemError InputCancellation AsyncUsageWarning simulate_preemption
    DeprecationError PendingDeprecationError ServerWarning
"""

#: Names that the table has in another word.
ROWS_FOR = {
    "Stub": "App(",
    "Client": "client=",
    "Cluster": "clustered",
    "Server": "app.server",
    "SandboxSnapshot": "Sandbox",
    "SchedulerPlacement": "fleet",
    "web_endpoint": "web endpoints",
}


def _refusal(owner: Any, name: str) -> str:
    """What is said of a name that is not here; "" for one that is."""
    try:
        getattr(owner, name)
    except UnknownNameError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", NAMES.split())
def test_a_name_of_the_package_is_here_or_stands_in_the_table(name: str) -> None:
    said = _refusal(rekindle, name)
    if said:
        assert "use " in said or "meanwhile: " in said or "leave it out" in said
        assert ROWS_FOR.get(name, name) in TABLE


@pytest.mark.parametrize(
    ("owner", "name"), [(owner, name) for owner, names in MEMBERS.items() for name in names.split()]
)
def test_a_member_is_here_or_says_what_to_use(owner: str, name: str) -> None:
    said = _refusal(getattr(rekindle, owner), name)
    assert not said or "use " in said


@pytest.mark.parametrize("name", MODULES.split())
def test_a_module_of_theirs_says_what_to_use_however_it_is_imported(name: str) -> None:
    said = _refusal(rekindle, name)
    assert "use " in said or "leave it out" in said
    for line in (
        f"import rekindle.{name}",
        f"import rekindle.{name} as theirs",
        f"from rekindle.{name} import Anything",
        f"from rekindle.{name}.deeper import Anything",
    ):
        with pytest.raises(ModuleNotFoundError) as caught:
            exec(line)
        assert (str(caught.value), caught.value.name) == (said, f"rekindle.{name}")
    with pytest.raises(ImportError, match=re.escape(said)):
        exec(f"from rekindle import {name}")
    assert name in TABLE


@pytest.mark.parametrize("name", WITH_AIO.split())
def test_a_member_has_its_asyncio_form(name: str) -> None:
    app = rekindle.App("both-forms")
    kind, _, member = name.partition(".")
    made = {
        "App": lambda: app,
        "Function": lambda: app.function()(_refusal),
        "Cls": lambda: rekindle.Cls.from_name("a", "C"),
        "FunctionCall": lambda: rekindle.FunctionCall.from_id("fc-1"),
    }
    by_name = lambda: getattr(rekindle, kind).from_name("named")  # noqa: E731
    assert callable(getattr(made.get(kind, by_name)(), member).aio)


@pytest.mark.parametrize("name", SIGNATURES)
def test_parameters_have_the_names_that_they_have_there(name: str) -> None:
    found: Any = rekindle
    for part in name.split("."):
        is_class = isinstance(found, type)
        found = inspect.getattr_static(found, part) if is_class else getattr(found, part)
    for under in ("__func__", "_body"):  # of a classmethod, and of what has an .aio
        found = getattr(found, under, found)
    assert set(SIGNATURES[name].split()) <= set(inspect.signature(found).parameters)


@pytest.mark.parametrize("keyword", [*KEYWORDS, *REFUSED.split()])
def test_a_keyword_of_the_decorators_is_taken_or_says_what_to_do(keyword: str) -> None:
    app = rekindle.App("names")
    decorators = [app.function] if keyword in OF_FUNCTIONS_ALONE else [app.function, app.cls]
    for decorator in decorators:
        if keyword in KEYWORDS:
            decorator(**{keyword: KEYWORDS[keyword]})
            continue
        with pytest.raises(InvalidError, match=r"use |leave it out"):
            decorator(**{keyword: 1})
        assert keyword in TABLE


@pytest.mark.parametrize("name", ERRORS.split())
def test_an_error_can_be_caught_or_says_what_to_catch(name: str) -> None:
    said = _refusal(rekindle.exception, name)
    if said:
        assert "catch " in said or "there is no simulate_preemption" in said
        return
    found = getattr(rekindle.exception, name)
    assert issubclass(found, (Error, BaseException if name == "InputCancellation" else Warning))


def test_a_client_of_ones_own_is_refused_wherever_it_could_be_given() -> None:
    client: Any = object()
    for make in (
        lambda: rekindle.Function.from_name("a", "f", client=client),
        lambda: rekindle.Function.from_id("fu-1", client=client),
        lambda: rekindle.Cls.from_name("a", "C", client=client),
        lambda: rekindle.FunctionCall.from_id("fc-1", client=client),
        lambda: rekindle.App.lookup("a", client=client),
        lambda: rekindle.Dict.from_name("d", client=client),
        lambda: rekindle.Queue.ephemeral(client=client),
        lambda: rekindle.Secret.from_name("s", client=client),
        lambda: rekindle.Volume.from_name("v", client=client),
        lambda: rekindle.Environment.from_name("e", client=client),
    ):
        with pytest.raises(InvalidError, match="REKINDLE_DIR names the instance"):
            make()


@pytest.mark.parametrize(
    ("name", "gpu"), [("A100", "A100"), ("A10G", "A10G"), ("H100", "H100"), ("Any", "any")]
)
def test_a_class_of_gpus_says_what_a_string_has_in_its_place(name: str, gpu: str) -> None:
    assert f'use gpu="{gpu}", two of them are gpu="{gpu}:2"' in _refusal(rekindle.gpu, name)
    rekindle.App("gpus").function(gpu=f"{gpu}:2")
    with pytest.raises(ImportError, match=f'use gpu="{gpu}"'):
        exec(f"from rekindle.gpu import {name}")


@pytest.mark.parametrize(
    ("give", "words"),
    [
        (lambda: rekindle.Image.from_registry("a", secret=None), "docker login"),
        (lambda: rekindle.Image.from_dockerfile("a", registry_secret=None), "docker login"),
        (lambda: rekindle.App("a").run(show_progress=True), "enable_output"),
    ],
)
def test_a_keyword_of_a_method_that_is_not_there_says_what_to_do(give: Any, words: str) -> None:
    with pytest.raises(TypeError, match=rf"unexpected keyword argument '\w+'; .*{words}"):
        give()


def test_an_instance_is_kept_warm_by_its_autoscaler() -> None:
    @rekindle.App("warm").cls()
    class C:
        @rekindle.method()
        def m(self) -> None: ...

    assert "use update_autoscaler(min_containers=...)" in _refusal(C(), "keep_warm")


def test_a_method_of_a_class_that_is_elsewhere_is_one_of_an_instance() -> None:
    with pytest.raises(AttributeError, match=r"instantiate the class first: C\(\)\.m"):
        _ = rekindle.Cls.from_name("a", "C").m


def test_what_is_no_id_of_a_function_is_refused() -> None:
    with pytest.raises(InvalidError, match=r"start with 'fu-'; by its name: rekindle\.Function"):
        rekindle.Function.from_id("f")


def test_gather_takes_calls_and_says_so_of_a_list() -> None:
    calls = [rekindle.FunctionCall.from_id("fc-1")]
    with pytest.raises(InvalidError, match=r"not a list: FunctionCall\.gather\(\*calls\)"):
        rekindle.FunctionCall.gather(calls)
    with pytest.raises(InvalidError, match=r"not an int: what f\.spawn\(\.\.\.\) returns"):
        rekindle.FunctionCall.gather(5)


def test_a_bare_image_says_which_bases_there_are() -> None:
    with pytest.raises(InvalidError, match=r"no base: begin with Image\.debian_slim\(\)"):
        rekindle.Image()


def test_patterns_of_files_are_a_filter_of_paths(tmp_path: Path) -> None:
    logs = rekindle.FilePatternMatcher("**/*.log", "!keep.log", "build")
    assert logs("a.log") and logs(Path("deep/b.log")) and logs("build/x.py")
    assert not logs("keep.log") and not logs("a.py")
    assert (~logs)("a.py") and not (~logs)("a.log")
    file = tmp_path / "ignore"
    file.write_text("# what tools leave\n\n*.tmp\n")
    assert rekindle.FilePatternMatcher.from_file(file)("x.tmp")
    with pytest.raises(InvalidError, match="No such file"):
        rekindle.FilePatternMatcher.from_file(tmp_path / "none")
    with pytest.raises(InvalidError, match="list of patterns"):
        rekindle.FilePatternMatcher(5)  # type: ignore[arg-type]
    rekindle.Image.debian_slim().add_local_dir(tmp_path, "/there", ignore=~logs)
