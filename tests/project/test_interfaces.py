"""What a module offers to other rooms stands in its `__all__`."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted((ROOT / "ovss").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def _offered(module: ast.Module) -> set[str]:
    for node in module.body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return {part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)}
    return set()


def _room(name: str) -> str:
    return ".".join(name.split(".")[:2])


def test_a_room_takes_from_another_only_what_the_module_offers():
    modules = _modules()
    taken = [
        (user, node.module, alias.name)
        for user, tree in modules.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in modules and _room(node.module) != _room(user)
        for alias in node.names
        if f"{node.module}.{alias.name}" not in modules and not alias.name.startswith("__")
    ]
    assert len(taken) > 300
    undeclared = sorted(
        {f"{module}.{name} ({user})" for user, module, name in taken if name not in _offered(modules[module])}
    )
    assert not undeclared


def test_every_offered_name_exists():
    for name, tree in _modules().items():
        defined = {part.id for part in ast.walk(tree) if isinstance(part, ast.Name)}
        defined |= {part.name for part in tree.body if isinstance(part, ast.FunctionDef | ast.ClassDef)}
        imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        defined |= {alias.asname or alias.name for node in imported for alias in node.names}
        assert _offered(tree) <= defined | {"__version__"}, name
