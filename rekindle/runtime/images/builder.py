"""From a spec to an image that is there: each layer built once, by whoever needs it first."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rekindle.exception import ImageError, LayerLostError
from rekindle.runtime.images import bases, layer_gc, places, sharing, steps, tools
from rekindle.runtime.images.build_output import BuildFollower, explained, without_secrets
from rekindle.runtime.images.built import BuiltImage, identity
from rekindle.runtime.images.layer import Layer, Settings
from rekindle.runtime.images.store import FILES, Draft, LayerStore, measure
from rekindle.runtime.images.stored_chain import StoredChain
from rekindle.runtime.isolation import privilege
from rekindle.wire.images import (
    VARIABLE,
    ImageSpec,
    LocalFiles,
    Step,
    StepKind,
    StepSecret,
    here,
    layers,
    names,
)

#: What a build says: the title of the step that it is about, and a line.
Watch = Callable[[str, str], None]

#: Gives the variables of named secrets, as they are now (step_secrets.py).
AskSecrets = Callable[[Sequence[StepSecret]], dict[str, str]]

_LAST_LINES = 20
_OLDEST_PYTHON = (3, 11)


def nobody(_title: str, _line: str) -> None:
    """Nobody watches."""


def nobody_knows(wanted: Sequence[StepSecret]) -> dict[str, str]:
    """There is no instance to ask. Raises ImageError."""
    names_of = ", ".join(repr(one.name or one.id) for one in wanted)
    raise ImageError(
        f"the step is given secrets that an instance keeps ({names_of}), and there is none to ask: "
        f"start one with `rekindle up`"
    )


def ensure(
    spec: ImageSpec,
    *,
    secret_values: Mapping[str, str] | None = None,
    watch: Watch = nobody,
    store: LayerStore | None = None,
    ask_secrets: AskSecrets = nobody_knows,
) -> BuiltImage | None:
    """Have all layers of an image, and say what a start needs of it; None for the host image.

    What is missing comes from the store of blobs that the environment names, where that has it, and
    is built otherwise, also where the store turns out to have lost or damaged it; waits where
    another process builds it. ``secret_values``: variables that
    steps ask for; ``ask_secrets``: for those of secrets with names. Raises ImageBuildError with
    the step, its last lines and the layer's name; ImageError for what is missing here;
    InvalidError for a budget that is none.
    """
    if spec.base.kind is StepKind.HOST:
        return None
    layer_gc.asked_budget()  # refused before anything is built, not after it
    local = store or LayerStore()
    wanted = [name for step, name in layers(spec.steps) if not step.force]
    title, lost = spec.base.title, 0
    while True:
        stored_chain = StoredChain(local, wanted, lambda line: watch(title, line))
        chain = _Chain(local, stored_chain, dict(secret_values or {}), watch, ask_secrets)
        try:
            built = chain.build(spec)
        except LayerLostError as error:
            lost += 1
            if lost > len(spec.steps):  # each is lost once, and is no layer from then on
                raise
            watch(title, str(error))
            continue
        if lost or chain.made:
            try:
                layer_gc.collect(local)
            except ImageError as error:  # the image is there; room is made the next time
                watch(title, str(error))
        return built


def missing(spec: ImageSpec, store: LayerStore | None = None) -> list[Step]:
    """The steps that ``ensure`` would build."""
    store = store or LayerStore()
    parent: Layer | None = None
    found: list[Step] = []
    for step, name in layers(spec.steps):
        layer = None if step.force or found else _standing_on(parent, store.get(name))
        if layer is None:
            found.append(step)
        parent = layer
    return found


def _standing_on(parent: Layer | None, layer: Layer | None) -> Layer | None:
    """The layer, if it was built on just this parent."""
    if layer is None or layer.parent_build != (parent.build if parent else ""):
        return None
    return layer


@dataclass
class _Chain:
    store: LayerStore
    stored_chain: StoredChain
    secret_values: dict[str, str]
    watch: Watch
    ask_secrets: AskSecrets
    layers: list[Layer] = field(default_factory=list)
    settings: Settings = field(default_factory=Settings)
    #: Whether a layer was built, or came from the store.
    made: bool = False
    #: The steps that come after the one that is just looked at.
    left: Sequence[Step] = ()

    def build(self, spec: ImageSpec) -> BuiltImage:
        mounts: list[LocalFiles] = []
        for at, (step, name) in enumerate(zip(spec.steps, names(spec.steps), strict=True), 1):
            self.left = spec.steps[at:]
            if step.kind is StepKind.SETTINGS:
                self.settings = self.settings.after(step)
                if "workdir" in step.arguments:
                    places.check_workdir(step.title, self.settings.workdir, self._lowers())
            elif step.kind is StepKind.MOUNT:
                mounts += step.files
            elif step.kind.makes_layer:
                layer = self._layer(step, name)
                if step.kind.is_base:
                    self.settings = layer.settings
                self.layers.append(layer)
        return self._built(spec, mounts)

    def _built(self, spec: ImageSpec, mounts: list[LocalFiles]) -> BuiltImage:
        top = self.layers[-1]
        version = tuple(int(one) for one in top.python_version.split(".") if one)
        if version < _OLDEST_PYTHON:
            what = f"Python {top.python_version}" if version else "no Python"
            raise ImageError(
                f"the image has {what}, and functions run on 3.11 or newer: install one in a step, "
                f"or give from_registry(..., add_python='3.13')"
            )
        settings = self.settings
        shown = [(self._kept(one), one.target) for one in mounts]
        places.check_files("the image", shown, settings.workdir)
        said = {
            "builds": [layer.build for layer in self.layers],
            "env": settings.env,
            "workdir": settings.workdir,
            "entrypoint": settings.entrypoint,
            "mounts": [(one.target, one.digest) for one in mounts],  # the later lies above
        }
        text = json.dumps(said, sort_keys=True)
        lowers = tuple(map(Path, self._lowers()))
        return BuiltImage(
            name=hashlib.sha256(text.encode()).hexdigest()[:32],
            lowers=lowers,
            layers=self._identities(lowers),
            packed=tuple(self.store.place(o.name) for o in reversed(self.layers) if o.packing),
            # How it was declared is no part of the name: the same from elsewhere is the same.
            env=tuple(sorted({**settings.env, VARIABLE: spec.declared}.items())),
            workdir=settings.workdir or None,
            entrypoint=settings.entrypoint,
            python=top.python,
            python_version=top.python_version,
            mounts=tuple(shown),
        )

    def _identities(self, lowers: Sequence[Path]) -> tuple[tuple[int, int], ...]:
        """Raises ImageError where a layer is not there any more as it was looked at."""
        try:
            found = tuple(map(identity, lowers))
        except FileNotFoundError:
            found = ()
        for layer in self.layers:
            now = self.store.get(layer.name)
            if not found or now is None or now.build != layer.build:
                raise ImageError(
                    f"{layer.title} (layer {layer.name[:12]}), or what is beside it, was removed "
                    f"or built again at this moment; try it again"
                )
        return found

    def _lowers(self) -> list[str]:
        """The directories of the layers so far, the topmost first."""
        return [str(self.store.place(one.name)) for one in reversed(self.layers)]

    # ---- one layer -----------------------------------------------------------------------------

    def _layer(self, step: Step, name: str) -> Layer:
        parent = self.layers[-1] if self.layers else None
        found = None if step.force else _standing_on(parent, self.store.get(name))
        if found is not None:
            self.store.touch(name)
            return found
        began_s = time.time()
        may_build = privilege.is_root_like()
        if not may_build and not self.stored_chain.may_have(name, parent):
            raise ImageError(
                f"the layer of {step.title} is to be built, which needs root: run the instance "
                f"(`rekindle up`) or `rekindle image build` as root"
            )
        following = BuildFollower(self.store.log(name), lambda line: self.watch(step.title, line))
        with self.store.building(name, following.more):
            found = _standing_on(parent, self.store.get(name))
            # Who forces a build wants one that began after it was asked for.
            if found is not None and (not step.force or found.created_s >= began_s):
                return found
            if (brought := self.stored_chain.bring(name, parent, following.say)) is not None:
                self.made = True
                return brought
            if not may_build:
                raise ImageError(
                    f"the layer of {step.title} did not come from the store, and to build it needs "
                    f"root: see above why, and run it again"
                )
            return self._build(step, name, parent)

    def _build(self, step: Step, name: str, parent: Layer | None) -> Layer:
        # They will be built, too: what they lack is said before minutes go by.
        for one in self.left:
            tools.check(one.tools)
        if step.kind is StepKind.COPY:
            into = step.arguments.get("into", "")
            places.check_copies(step.title, self._files_of(step), into, self._lowers())
        began_s = time.monotonic()
        last: deque[str] = deque(maxlen=_LAST_LINES)
        draft = self.store.draft(name)
        values: dict[str, str] = {}
        try:
            with open(self.store.log(name), "w", encoding="utf-8", buffering=1) as log:

                def say(line: str) -> None:
                    hidden = without_secrets(values, line)
                    last.append(hidden)
                    log.write(hidden + "\n")
                    self.watch(step.title, hidden)

                self.watch(step.title, "")
                with explained(step, name, last):
                    values |= self._values_for(step)
                    settings, python = self._files(step, draft, values, say)
                    size, files = measure(draft.root)
                    layer = Layer(
                        name=name,
                        build=secrets.token_hex(8),
                        parent=parent.name if parent else "",
                        parent_build=parent.build if parent else "",
                        title=step.title,
                        kind=step.kind.value,
                        platform=here(),
                        created_s=time.time(),
                        elapsed_s=round(time.monotonic() - began_s, 3),
                        size_bytes=size,
                        files=files,
                        settings=settings,
                        forced=step.force,
                        **python,
                    )
                    self.store.publish(draft, layer)
        except BaseException:
            self.store.give_up(draft)
            raise
        self.made = True
        return layer

    def _files(
        self, step: Step, draft: Draft, values: dict[str, str], say: Callable[[str], None]
    ) -> tuple[Settings, dict[str, str]]:
        """Make the files of a layer; what its base says, and its Python."""
        settings = self.settings
        if step.kind is StepKind.DEBIAN:
            settings = bases.debian(step, draft, self.store.root, say)
        elif step.kind is StepKind.OCI:
            archive = self._kept(step.files[0]) if step.files else None
            settings = bases.oci(step, draft, self.store.root, say, archive)
        lowers = [layer.name for layer in reversed(self.layers)]
        packed = [
            (str(sharing.have_whole(self.store, layer)), str(self.store.place(layer.name)))
            for layer in self.layers
            if layer.packing
        ]
        python = steps.run(
            step,
            draft,
            steps.Surroundings(
                store=self.store,
                lowers=lowers,
                packed=packed,
                settings=settings,
                secrets=values,
                files=[(str(source), target) for source, target in self._files_of(step)],
                python_version=self.layers[-1].python_version if self.layers else "",
            ),
            say,
        )
        return (settings if step.kind.is_base else Settings()), python

    def _values_for(self, step: Step) -> dict[str, str]:
        lacking = [one for one in step.secrets if one not in self.secret_values]
        if lacking:
            raise ImageError(
                f"{step.title} is given secrets ({', '.join(lacking)}), whose values are with the "
                f"program alone: build the image where the program is, with `rekindle image "
                f"build`, or have the instance keep them and give the step Secret.from_name()"
            )
        found = {one: self.secret_values[one] for one in step.secrets}
        if not step.named_secrets:
            return found
        return found | self.ask_secrets(step.named_secrets)

    def _files_of(self, step: Step) -> list[tuple[Path, str]]:
        """Copies of its local files, and where they go or are shown."""
        return [(self._kept(one), self.settings.place_of(one.target)) for one in step.files]

    def _kept(self, files: LocalFiles) -> Path:
        """The copy of local files. Raises ImageError where it is not here."""
        for place in (files.kept, self.store.root / FILES / files.digest / "content"):
            if place and Path(place).exists():
                with contextlib.suppress(OSError):
                    os.utime(Path(place).parent)  # what was used lately is kept longest
                return Path(place)
        raise ImageError(
            f"{files.source}, which the image is given, is not kept on this machine any more "
            f"({files.kept}); run the app, or deploy it, again"
        )
