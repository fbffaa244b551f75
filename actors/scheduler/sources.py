"""Where the configuration comes from: a file and the plugins' files, read again when one of them has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oarlock.actors.scheduler import configuration, loading
from oarlock.actors.scheduler.configuration import Configuration
from oarlock.actors.scheduler.located import Broken


@dataclass(frozen=True)
class Sources:
    """`config` is a KubeSchedulerConfiguration file or "", `plugin_files` are Python files with plugins."""

    scheduler_name: str
    config: str = ""
    plugin_files: tuple[str, ...] = ()

    def load(self) -> Configuration:
        """Read everything anew. Raises Broken."""
        plugins = loading.found(self.plugin_files) if self.plugin_files or self.config else {}
        if not self.config:
            return configuration.default(self.scheduler_name)
        try:
            text = Path(self.config).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Broken(self.config, 1, f"can't be read: {error}") from None
        return configuration.read(self.config, text, plugins)

    def stamps(self) -> tuple[object, ...]:
        """Return what differs once a file has changed."""
        return tuple(map(_stamp, filter(None, (self.config, *self.plugin_files))))


def of(settings: Mapping[str, object], scheduler_name: str) -> Sources:
    """Read a component's settings `config` (a path) and `plugin_files` (a list of paths, or one text with colons)."""
    files = settings.get("plugin_files") or ()
    if isinstance(files, str):
        files = files.split(":")
    assert isinstance(files, Sequence)
    return Sources(scheduler_name, str(settings.get("config") or ""), tuple(map(str, files)))


def _stamp(path: str) -> object:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
