"""The gRPC service for clients: checks requests, and lets the parts behind it do the work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from rekindle.controller import names
from rekindle.controller.handlers import Context, answering, to_its_end
from rekindle.controller.logs.logfilter import LogFilter
from rekindle.controller.nodes import leasing
from rekindle.controller.state import Function
from rekindle.controller.wiring import Parts
from rekindle.exception import InvalidError, RequestSizeError, VersionError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import rekindle_pb2_grpc as pb_grpc
from rekindle.wire.blobs import size_of
from rekindle.wire.messages import parameter_messages, payload_too_large, read_result
from rekindle.wire.node_token import node_token
from rekindle.wire.phases import Strategy
from rekindle.wire.version import PROTOCOL, __version__


class _OfFunction(Protocol):
    """A request that is of one function."""

    function_id: str
    pinned: bool


@answering
class ControllerService(pb_grpc.ControllerServicer):
    """Implements ``rekindle.v1.Controller``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        #: For what goes on when a client goes (handlers.py).
        self.tasks = parts.core.tasks
        self.behind = parts.behind

    def _node_token(self, function: Function) -> str:
        """Empty where its calls are the controller's business, each of them."""
        if leasing.why_never(function):
            return ""
        return node_token(self._parts.config.token, function.app.app_id)

    async def Hello(self, request: pb.HelloRequest, context: Context) -> pb.HelloReply:
        check_protocol(request.protocol, "client", request.version)
        return pb.HelloReply(
            protocol=PROTOCOL,
            version=__version__,
            instance_id=self._parts.core.state.instance_id,
            agents=len(self._parts.core.state.live_agents()),
            blob_url=self._parts.config.blob_url,
            blob_threshold_bytes=self._parts.config.blob_threshold_bytes,
            redis_waits=self._parts.link.why_waiting(),
        )

    @to_its_end
    async def RegisterApp(
        self, request: pb.RegisterAppRequest, context: Context
    ) -> pb.RegisterAppReply:
        handles = await self._parts.apps.register(request)
        for handle in handles:
            handle.node_token = self._node_token(self._parts.apps.function(handle.function_id))
        return pb.RegisterAppReply(functions=handles)

    async def HoldApp(
        self, request: pb.HoldAppRequest, context: Context
    ) -> AsyncIterator[pb.HoldAppEvent]:
        async for event in self._parts.apps.hold(request.app_id):
            yield event

    @to_its_end
    async def CloseApp(self, request: pb.CloseAppRequest, context: Context) -> pb.CloseAppReply:
        await self._parts.apps.close(request.app_id)
        return pb.CloseAppReply()

    async def Lookup(self, request: pb.LookupRequest, context: Context) -> pb.FunctionHandle:
        if request.app:
            function = await self._parts.finder.handle(request)
        else:
            function = self._parts.apps.lookup(request.app_id, request.name)
        return self._handle(function)

    def _handle(self, function: Function) -> pb.FunctionHandle:
        return pb.FunctionHandle(
            name=function.name,
            function_id=function.function_id,
            node_token=self._node_token(function),
            app_id=function.app.app_id,
            version=function.app.version,
            kind=function.spec.kind,
            methods=function.spec.methods,
            parameters=parameter_messages(function.spec.parameters),
        )

    @to_its_end
    async def Variant(self, request: pb.VariantRequest, context: Context) -> pb.FunctionHandle:
        async with self._routed(request) as base:
            function = await self._parts.variants.make(base, request)
            return pb.FunctionHandle(
                name=function.name,
                function_id=function.function_id,
                node_token=self._node_token(function),
            )

    async def Invoke(self, request: pb.SubmitRequest, context: Context) -> pb.Result:
        if len(request.inputs) != 1:
            raise InvalidError(f"Invoke takes one input, not {len(request.inputs)}; use Submit")
        self._check(request)
        async with self._routed(request, call_id=request.call_id) as function:
            _check_no_generator(function, request)
            self._parts.nested.submitted(function, request)
            raw = await self._parts.intake.invoke(function, request)
            return read_result(raw, f"the call {request.call_id}")

    async def Submit(self, request: pb.SubmitRequest, context: Context) -> pb.SubmitReply:
        self._check(request)
        async with self._routed(request, call_id=request.call_id) as function:
            _check_no_generator(function, request)
            self._parts.nested.submitted(function, request)
            return pb.SubmitReply(accepted=await self._parts.intake.submit(function, request))

    def _routed(
        self, request: _OfFunction, *, call_id: str = ""
    ) -> AbstractAsyncContextManager[Function]:
        """The function that a request means; ``call_id``: of a call that may have begun before."""
        return self._parts.finder.routed(
            request.function_id, pinned=request.pinned, call_id=call_id
        )

    async def Results(
        self, request: pb.ResultsRequest, context: Context
    ) -> AsyncIterator[pb.ResultBatch]:
        names.check_call_id(request.call_id)
        async for results in self._parts.results.stream(request):
            if results:
                yield pb.ResultBatch(results=results)

    @to_its_end
    async def Taken(self, request: pb.TakenRequest, context: Context) -> pb.TakenReply:
        await self._parts.retention.taken(request)
        return pb.TakenReply()

    async def GetCall(self, request: pb.GetCallRequest, context: Context) -> pb.CallInfo:
        names.check_call_id(request.call_id)
        return await self._parts.results.info(request.call_id)

    async def GetNested(self, request: pb.GetCallRequest, context: Context) -> pb.NestedCalls:
        names.check_call_id(request.call_id)
        return await self._parts.nested.of_call(request.call_id)

    @to_its_end
    async def CancelCall(
        self, request: pb.CancelCallRequest, context: Context
    ) -> pb.CancelCallReply:
        names.check_call_id(request.call_id)
        return await self._parts.canceller.call(
            request.call_id, terminate=request.terminate_containers
        )

    async def DeadLetters(
        self, request: pb.DeadLettersRequest, context: Context
    ) -> pb.DeadLettersReply:
        return await self._parts.letters.listed(request)

    @to_its_end
    async def Replay(self, request: pb.DeadLetterSelection, context: Context) -> pb.DeadLetterCount:
        return await self._parts.letters.replay(request)

    @to_its_end
    async def Drop(self, request: pb.DeadLetterSelection, context: Context) -> pb.DeadLetterCount:
        return await self._parts.letters.drop(request)

    @to_its_end
    async def SetPool(self, request: pb.SetPoolRequest, context: Context) -> pb.SetPoolReply:
        if request.function:
            return await self._parts.pools.set_named(request)
        async with self._routed(request) as function:
            return await self._parts.pools.set_pool(request, [function])

    async def StopRunner(
        self, request: pb.StopRunnerRequest, context: Context
    ) -> pb.StopRunnerReply:
        return self._parts.orders.stop_runner(request)

    async def Recorded(self, request: pb.RecordedRequest, context: Context) -> pb.RecordedReply:
        return await self._parts.pools.recorded(request)

    async def Prepare(self, request: pb.PrepareRequest, context: Context) -> pb.PrepareReply:
        _check_strategy(request.strategy)
        async with self._routed(request) as function:
            return await self._parts.orders.prepare(function, request)

    async def Lease(self, request: pb.LeaseRequest, context: Context) -> pb.LeaseReply:
        _check_strategy(request.strategy)
        async with self._routed(request) as function:
            reply = await self._parts.orders.leasing.lease(function, request)
            if function.function_id != request.function_id:
                reply.moved.CopyFrom(self._handle(function))
            return reply

    async def Logs(self, request: pb.LogsRequest, context: Context) -> AsyncIterator[pb.LogLine]:
        app_id = request.app_id
        if request.app:
            app_id = await self._parts.app_names.find(request.app)
        names.check_app_id(app_id)
        if request.call_id:
            names.check_call_id(request.call_id)
        wanted, after = LogFilter.of(request), request.after_seq
        if request.tail > 0:
            lines, after = await self._parts.logbook.tail(app_id, request.tail, wanted)
            for line in lines:
                yield line
        async for line in self._parts.logbook.follow(app_id, after, request.follow, wanted):
            yield line

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusReply:
        if request.function_id:
            async with self._routed(request) as function:
                return await self._parts.status.of_function(function)
        return await self._parts.status.make(pools=not request.without_pools)

    async def Deploy(self, request: pb.DeployRequest, context: Context) -> pb.DeployReply:
        return await self._parts.deployments.deploy(request)

    async def Rollback(self, request: pb.RollbackRequest, context: Context) -> pb.DeployReply:
        return await self._parts.deployments.rollback(request)

    async def GiveUpDeploy(
        self, request: pb.GiveUpDeployRequest, context: Context
    ) -> pb.GiveUpDeployReply:
        names.check_app_id(request.app_id)
        return await self._parts.deployments.give_up(request.app_id)

    async def StopApp(self, request: pb.StopAppRequest, context: Context) -> pb.DeployedApp:
        return await self._parts.deployments.stop(request.app)

    @to_its_end
    async def DeleteApp(self, request: pb.DeleteAppRequest, context: Context) -> pb.DeletedApp:
        return await self._parts.deletion.delete(request.app)

    async def SetTags(self, request: pb.SetTagsRequest, context: Context) -> pb.DeployedApp:
        return await self._parts.deployments.set_tags(request.app, dict(request.tags))

    async def DeployedApps(
        self, request: pb.DeployedAppsRequest, context: Context
    ) -> pb.DeployedAppsReply:
        known, message = self._parts.deployed, self._parts.deployments.message
        found = [known.find(request.app)] if request.app else known.all()
        return pb.DeployedAppsReply(apps=[message(one) for one in found])

    async def Schedules(self, request: pb.SchedulesRequest, context: Context) -> pb.SchedulesReply:
        app = self._parts.deployed.find(request.app).name if request.app else ""
        return await self._parts.schedule_report.make(app)

    @to_its_end
    async def RunSchedule(
        self, request: pb.RunScheduleRequest, context: Context
    ) -> pb.ScheduledRun:
        names.check_call_id(request.call_id)
        run = await self._parts.schedules.run_now(request.app, request.function, request.call_id)
        return await self._parts.schedule_report.run(run)

    async def Metrics(self, request: pb.MetricsRequest, context: Context) -> pb.MetricsReply:
        return pb.MetricsReply(text=await self._parts.scrape.text())

    @to_its_end
    async def PutSecret(self, request: pb.PutSecretRequest, context: Context) -> pb.SecretInfo:
        return await self._parts.secrets.put(request)

    async def GetSecret(self, request: pb.SecretRef, context: Context) -> pb.SecretInfo:
        return await self._parts.secrets.get(request)

    async def ListSecrets(
        self, request: pb.ListSecretsRequest, context: Context
    ) -> pb.ListSecretsReply:
        return pb.ListSecretsReply(secrets=await self._parts.secrets.listed(request.environment))

    @to_its_end
    async def DeleteSecret(
        self, request: pb.DeleteSecretRequest, context: Context
    ) -> pb.DeleteSecretReply:
        return pb.DeleteSecretReply(deleted=await self._parts.secrets.delete(request))

    @to_its_end
    async def RotateSecretKey(
        self, request: pb.RotateSecretKeyRequest, context: Context
    ) -> pb.RotateSecretKeyReply:
        return await self._parts.key_rotation.rotate()

    async def ListEnvironments(
        self, request: pb.ListEnvironmentsRequest, context: Context
    ) -> pb.ListEnvironmentsReply:
        return pb.ListEnvironmentsReply(environments=await self._parts.environments.listed())

    @to_its_end
    async def CreateEnvironment(
        self, request: pb.EnvironmentRequest, context: Context
    ) -> pb.EnvironmentInfo:
        return await self._parts.environments.create(request.name)

    @to_its_end
    async def DeleteEnvironment(
        self, request: pb.EnvironmentRequest, context: Context
    ) -> pb.EnvironmentInfo:
        return await self._parts.environments.delete(request.name)

    @to_its_end
    async def RenameEnvironment(
        self, request: pb.RenameEnvironmentRequest, context: Context
    ) -> pb.EnvironmentInfo:
        return await self._parts.environments.rename(request.name, request.new_name)

    @to_its_end
    async def SetAside(self, request: pb.SetAsideRequest, context: Context) -> pb.DamagedRecord:
        return await self._parts.damage.set_aside(request.id)

    def _check(self, request: pb.SubmitRequest) -> None:
        names.check_call_id(request.call_id)
        _check_strategy(request.strategy)
        limit = self._parts.core.settings.max_payload_bytes
        for item in request.inputs:
            if item.index < 0:
                raise InvalidError(f"input index {item.index} is negative")
            # They travel together. The size of a blob is in its key, which is checked here: it
            # becomes a path.
            size = len(item.payload) + len(request.params)
            size += size_of(item.blob) if item.blob else 0
            if size > limit:
                what = f"the arguments of input {item.index}"
                raise RequestSizeError(payload_too_large(what, size, limit))


def check_protocol(protocol: int, who: str, version: str = "") -> None:
    """Raise VersionError for a peer that speaks another protocol than this controller."""
    if protocol != PROTOCOL:
        shown = f" ({version})" if version else ""
        older = who if protocol < PROTOCOL else "controller"
        raise VersionError(
            f"the {who}{shown} speaks protocol {protocol}, this controller ({__version__}) "
            f"protocol {PROTOCOL}; update the {older}, then restart it"
        )


def _check_no_generator(function: Function, request: pb.SubmitRequest) -> None:
    """What is queued has one result for each input. Raises InvalidError."""
    generators = function.spec.generators
    for one in request.inputs if generators else ():
        if one.method in generators:
            name = f"{function.name}.{one.method}" if one.method else function.name
            raise InvalidError(
                f"{name} is a generator, which the queue cannot run: iterate over "
                f"{name}.remote_gen(...)"
            )


def _check_strategy(strategy: str) -> None:
    known = [item.value for item in Strategy]
    if strategy and strategy not in known:
        hint = names.nearest(strategy, known, "")
        raise InvalidError(f"no strategy {strategy!r}; {hint}")
