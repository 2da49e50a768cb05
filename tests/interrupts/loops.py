"""Loops whose jump back is outside of what is around them.

Python 3.12 and 3.13 put the jump back behind a condition (that of ``while``, or of an ``if`` at the
end of a loop) outside of the table by which an exception finds its handler: a signal's exception
that comes there passes the ``finally`` of the ``try`` around the loop, and keeps its ``with``.
"""

from __future__ import annotations

import ast
import dis
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from types import CodeType

_Loop = ast.For | ast.While | ast.AsyncFor
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def outside(file: Path) -> Iterator[str]:
    """Each of them in a file, as its line and that of what is around it."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    above = {child: one for one in ast.walk(tree) for child in ast.iter_child_nodes(one)}
    loops = [one for one in ast.walk(tree) if isinstance(one, _Loop)]
    for code in _functions(compile(tree, str(file), "exec")):
        for jump in dis.get_instructions(code):
            line = jump.positions.lineno if jump.positions is not None else None
            jumps = jump.opname.startswith(("JUMP_BACKWARD", "POP_JUMP_BACKWARD"))
            looks = jumps and not jump.opname.endswith("NO_INTERRUPT")
            if not looks or line is None or _is_caught(code, jump.offset):
                continue
            around = [
                one
                for one in loops
                if one.lineno <= line <= (one.end_lineno or 0) and one.lineno >= code.co_firstlineno
            ]
            for inner in around[-1:]:
                for one in takewhile(lambda it: not isinstance(it, _FUNCTIONS), _up(inner, above)):
                    if _gives_back(one, inner, above):
                        yield f"{file.name}:{inner.lineno}, in that of line {one.lineno}"


def _functions(code: CodeType) -> Iterator[CodeType]:
    """Those in it. Of a comprehension that is one of its own, its caller is within the table."""
    for one in code.co_consts:
        if isinstance(one, CodeType):
            if not one.co_name.startswith("<"):
                yield one
            yield from _functions(one)


def _is_caught(code: CodeType, offset: int) -> bool:
    # The table's only reader in the standard library.
    table = dis._parse_exception_table(code)  # type: ignore[attr-defined]
    return any(one.start <= offset < one.end for one in table)


def _up(one: ast.AST, above: dict[ast.AST, ast.AST]) -> Iterator[ast.stmt]:
    while (one := above.get(one, tree := ast.Module([], []))) is not tree:
        if isinstance(one, ast.stmt):
            yield one


def _gives_back(one: ast.stmt, inner: ast.stmt, above: dict[ast.AST, ast.AST]) -> bool:
    """Whether it holds what outlives it, a lock say, or does something at its end."""
    if isinstance(one, (ast.With, ast.AsyncWith)):
        return any(isinstance(it.context_expr, (ast.Name, ast.Attribute)) for it in one.items)
    if not isinstance(one, ast.Try):
        return False
    way = {inner, *_up(inner, above)}
    catches_all = any(
        isinstance(it.type, ast.Name) and it.type.id == "BaseException" for it in one.handlers
    )
    if one.finalbody and not way & set(one.finalbody):
        return True
    return catches_all and bool(way & set(one.body))
