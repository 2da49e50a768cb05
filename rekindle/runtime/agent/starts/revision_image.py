"""Has the image of a revision there before anything of it starts: built or found, and fit for its
code.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable

from rekindle.exception import Error, LayerLostError, StartError
from rekindle.runtime.agent.apart import apart
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.agent.starts.roots import RootSource
from rekindle.runtime.images.built import BuiltImage
from rekindle.wire.images import ImageSpec, why_not_by_value
from rekindle.wire.logs import kv
from rekindle.wire.spec import FunctionSpec

log = logging.getLogger(__name__)

#: Why what was begun on the image as it was is of no use.
BUILT_ANEW = "its image was built anew at this moment"


def _nobody(_line: str) -> None:
    """Is told."""


async def ensure_image(
    context: NodeContext, revision: Revision, say: Callable[[str], None] = _nobody
) -> bool:
    """Have the image of a revision, where it has one, and a source of roots for it.

    True where that was waited for. ``say`` gets notes on what takes long. Raises StartError.
    """
    if image_is_ready(context, revision):
        return False
    async with revision.providing:
        if _is_there(context, revision):
            return True
        before = revision.image
        if before is not None:  # its layers were removed, built again, or are not served any more
            revision.forget_image()
        spec = ImageSpec.from_json(revision.spec.image)
        # Each of its layers may turn out to be lost, once: then it is built.
        for left in reversed(range(len(spec.steps) + 1)):
            try:
                found = await _found(context, revision, spec, say)
                break
            except LayerLostError as error:
                if not left:
                    raise StartError(f"the image of {revision.label}: {error}") from error
                say(f"{revision.label}: {error}")
                log.warning("image is found again", extra=kv(of=revision.label, reason=error))
        if found is not None:
            revision.is_in(*found)
        revision.image_is_known = True
        if before is not None:
            await revision.tracker.refresh()
        return True


def image_is_ready(context: NodeContext, revision: Revision) -> bool:
    """Whether ``ensure_image`` has nothing to do for it."""
    return not revision.spec.image or _is_there(context, revision)


async def _found(
    context: NodeContext, revision: Revision, spec: ImageSpec, say: Callable[[str], None]
) -> tuple[BuiltImage, RootSource] | None:
    """The image and where roots of it come from; None for the node's own files.

    Raises StartError, and LayerLostError where a layer has to be built here after all.
    """
    # An agent without images needs none of it.
    from rekindle.runtime.images import builder, step_secrets

    ask = step_secrets.of_instance(context.settings.instance_dir)
    try:
        image = await apart(functools.partial(builder.ensure, spec, ask_secrets=ask))
        if image is not None:
            await context.layers.have(image, say)
    except LayerLostError:
        raise
    except Error as error:
        raise StartError(f"the image of {revision.label}: {error}") from error
    if image is None:
        return None
    refuse_other_python(revision.spec, image)
    try:
        return image, await context.images.roots_of(revision.spec, revision.source_dir, image)
    except StartError as error:
        if context.layers.is_lost(image):
            raise LayerLostError(str(error)) from error
        raise


def _is_there(context: NodeContext, revision: Revision) -> bool:
    image = revision.image
    if not revision.image_is_known or image is None:
        return revision.image_is_known
    if not all(os.path.exists(source) for source, _target in image.mounts):
        return False  # copies of local files that were removed: who finds it again says so
    return image.is_there() and context.layers.serves(image)


def refuse_other_python(spec: FunctionSpec, image: BuiltImage) -> None:
    """Refuse code that came by value from another Python: its instructions mean others there.

    Raises StartError.
    """
    why = "" if spec.module else why_not_by_value(spec.python_version, image.python_version)
    if why:
        raise StartError(f"{spec.app_name}.{spec.name} cannot run: {why}")
