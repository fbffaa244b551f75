"""Finds plugins of one's own: in files and behind entry points. A broken one is refused with its file and line."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from oarlock.actors.scheduler.located import Broken
from oarlock.actors.scheduler.plugin import POINTS, Plugin

GROUP = "oarlock.scheduler_plugins"


def found(files: Iterable[str]) -> dict[str, type[Plugin]]:
    """Return the plugins of these files and of all entry points by their names. Raises Broken."""
    plugins: dict[str, type[Plugin]] = {}
    for path in files:
        for plugin in _of_module(_run(path), path):
            _add(plugins, plugin, path)
    for point in entry_points(group=GROUP):
        try:
            plugin = point.load()
        except Exception as error:
            raise _broken(error, point.value) from error
        _check(plugin, point.value)
        _add(plugins, plugin, point.value)
    return plugins


def _run(path: str) -> ModuleType:
    """Run the file anew, so that a changed one counts."""
    specification = importlib.util.spec_from_file_location(f"oarlock_scheduler_plugin_{Path(path).stem}", path)
    if specification is None or specification.loader is None:
        raise Broken(path, 1, "is no Python file")
    module = importlib.util.module_from_spec(specification)
    # The source as it is now: a compiled copy might be of the same second.
    try:
        code = compile(Path(path).read_bytes(), path, "exec")
        sys.modules[module.__name__] = module
        exec(code, module.__dict__)  # noqa: S102 - a plugin is code that the cluster's owner trusts
    except Exception as error:
        raise _broken(error, path) from error
    return module


def _of_module(module: ModuleType, path: str) -> list[type[Plugin]]:
    own = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
    plugins = [one for one in own if issubclass(one, Plugin)]
    if not plugins:
        raise Broken(path, 1, "has no class that inherits from Plugin")
    for plugin in plugins:
        _check(plugin, path)
    return plugins


def _add(plugins: dict[str, type[Plugin]], plugin: type[Plugin], source: str) -> None:
    if plugin.name in plugins:
        raise Broken(source, _line(plugin), f"plugin {plugin.name!r} is there twice")
    plugins[plugin.name] = plugin


def _check(plugin: object, source: str) -> None:
    """Raise Broken if the class can't be a plugin: no name, a method that is called otherwise than it thinks."""
    if not isinstance(plugin, type) or not issubclass(plugin, Plugin):
        raise Broken(source, 1, "is no class that inherits from Plugin")
    if not plugin.name:
        raise Broken(source, _line(plugin), f"class {plugin.__name__} has no name")
    for method in (method for methods in POINTS.values() for method in methods):
        ours, theirs = getattr(Plugin, method), getattr(plugin, method)
        if len(inspect.signature(ours).parameters) != len(inspect.signature(theirs).parameters):
            wanted = ", ".join(inspect.signature(ours).parameters)
            raise Broken(source, _line(theirs), f"plugin {plugin.name!r}: {method} must take ({wanted})")
        if inspect.iscoroutinefunction(ours) != inspect.iscoroutinefunction(theirs):
            kind = "async def" if inspect.iscoroutinefunction(ours) else "def, not async def"
            raise Broken(source, _line(theirs), f"plugin {plugin.name!r}: {method} must be {kind}")


def _line(thing: object) -> int:
    code = getattr(thing, "__code__", None)
    if code is not None:
        return int(code.co_firstlineno)
    first = [one.__code__.co_firstlineno for one in vars(thing).values() if inspect.isfunction(one)]
    return min(first, default=1)


def _broken(error: Exception, source: str) -> Broken:
    """Name the last line of the source that the error came through."""
    if isinstance(error, SyntaxError):
        return Broken(source, error.lineno or 1, f"can't be read: {error.msg}")
    lines = [frame.lineno or 1 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == source]
    return Broken(source, lines[-1] if lines else 1, f"can't be loaded: {type(error).__name__}: {error}")


Plugins = Mapping[str, type[Plugin]]
