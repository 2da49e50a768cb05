"""Storage objects: Secret and Volume in a program of which only the import line changed."""

from __future__ import annotations

from tests.e2e.harness import Home

_PROGRAM = """
    import asyncio, io, json, os
    import rekindle as modal

    of_app = modal.Secret.from_dict({{"A": "app", "B": "app", "N": None}})
    app = modal.App("storage", secrets=[of_app])
    volume = modal.Volume.from_name("compat-volume", create_if_missing=True, version=2)
    PLACE = {place!r}

    @app.function(
        secrets=[modal.Secret.from_name("compat-secret", required_keys=["TOKEN"]),
                 modal.Secret.from_dict({{"B": "function"}})],
        volumes={{PLACE: volume}},
        env={{"E": "env"}},
    )
    def f():
        with open(f"{{PLACE}}/from-runner", "w") as file:
            file.write("x" * 10)
            try:
                volume.reload()
            except RuntimeError:
                busy = True
        volume.commit()
        volume.reload()
        return [busy, {{name: os.environ.get(name) for name in ("A", "B", "N", "E", "TOKEN")}}]

    @app.local_entrypoint()
    def main():
        modal.Secret.objects.create("compat-secret", {{"TOKEN": "t"}}, allow_existing=True)
        found = {{"f": f.remote()}}
        with volume.batch_upload() as batch:
            batch.put_file(io.BytesIO(b"hello"), "/folder/hello")
        volume.copy_files(["/folder/hello"], "/copied")
        volume.remove_file("/folder", recursive=True)
        found["listdir"] = [[e.path, e.type.name, e.size] for e in volume.listdir("/")]
        found["read"] = b"".join(volume.read_file("copied")).decode()

        async def the_same():
            read = [piece async for piece in volume.read_file.aio("copied")]
            async with modal.Volume.ephemeral() as other:
                async with other.batch_upload() as batch:
                    batch.put_file(io.BytesIO(b"1"), "one")
                async with other.batch_upload.aio(force=True) as batch:
                    batch.put_file(io.BytesIO(b"22"), "one")
                    batch.put_file(io.BytesIO(b"3"), "folder/two")
                kinds = modal.FileEntryType
                files = [
                    [e.path, e.size] async for e in other.iterdir.aio("/")
                    if isinstance(e, modal.FileEntry) and e.type == kinds.FILE
                ]
            async with modal.Volume.ephemeral.aio(version=2) as another:
                assert await another.listdir.aio("/") == []
            async with modal.Dict.ephemeral.aio() as d, modal.Queue.ephemeral.aio() as q:
                await d.put.aio("key", 1)
                await q.put.aio(await d.get.aio("key"))
                passed_on = await q.get.aio()
            return [b"".join(read).decode(), files, passed_on]

        found["aio"] = asyncio.run(the_same())
        for name, attempt in (
            ("missing secret", lambda: modal.Secret.from_name("compat-none").info()),
            ("missing volume", lambda: modal.Volume.from_name("compat-none").listdir("/")),
            ("missing file", lambda: list(volume.read_file("none"))),
            ("there", lambda: modal.Volume.objects.create("compat-volume")),
            ("two paths", lambda: app.function(volumes={{"/a": volume, "/b": volume}})),
        ):
            try:
                attempt()
            except Exception as error:
                found[name] = [kind.__name__ for kind in type(error).__mro__]
        print(json.dumps(found))
"""


def test_secrets_and_volumes_do_what_such_a_program_expects(shared: Home) -> None:
    place = str(shared.scripts / "place")
    shared.rekindle("secret", "create", "compat-secret", "TOKEN=t", "B=secret", "--force")
    found = shared.run(shared.script(_PROGRAM.format(place=place))).value
    busy, variables = found["f"]
    assert busy  # reload with open files is a RuntimeError
    # Those of the app come first, later ones override, None is left out.
    assert variables == {"A": "app", "B": "function", "N": None, "E": "env", "TOKEN": "t"}
    assert found["listdir"] == [["copied", "FILE", 5], ["from-runner", "FILE", 10]]
    assert found["read"] == "hello"
    assert found["aio"] == ["hello", [["folder/two", 1], ["one", 2]], 1]
    assert "NotFoundError" in found["missing secret"]
    assert "NotFoundError" in found["missing volume"]
    assert "FileNotFoundError" in found["missing file"]
    assert "AlreadyExistsError" in found["there"]
    assert "InvalidError" in found["two paths"]
