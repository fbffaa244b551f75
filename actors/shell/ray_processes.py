"""How Ray's own processes are started: settings in, command lines and environment out. Starts nothing itself.

Ray's binaries are run directly, without `ray start`: a raylet and the GCS live and die apart, and the two agents that
every raylet insists on (they serve dashboards and runtime environments, neither of which is used) are stand-ins of a
few kilobytes. Workers are forked from one process that has imported ray and the components, see `ray_zygote`.
Source: Ray 2.60, services.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from oarlock.actors.shell import ray_zygote
from oarlock.cluster.client.settings import ClientSettings

RAY_RELEASE: Final = "2.60"
SESSION: Final = "s"
MARK: Final = "OARLOCK_RAY_NODE"
"""Environment variable that every process of a node inherits; its value is the node's folder."""
POSITION: Final = "OARLOCK_RAY_POSITION"
"""Environment variable that tells an actor at which position it runs."""
NAMESPACE: Final = "oarlock"
"""Ray's name for the state of one cluster in a store that may hold several."""
POSITION_LABEL: Final = "oarlock-position"

_SOCKET_PATH_BYTES_MAX = 107
_UNUSED_PORT = "1024"
"""Given where Ray wants a port that only one of the replaced agents would listen on."""
_NO_PORT = "-1"
_STAND_IN_AGENT: Final = ["/bin/sh", "-c", "exec cat >/dev/null", "agent"]
"""Ends when the raylet does: its standard input is a pipe from the raylet."""

_KNOBS: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "warning",
    "RAY_ROTATION_MAX_BYTES": "4194304",
    "RAY_ROTATION_BACKUP_COUNT": "1",
    "RAY_external_storage_namespace": NAMESPACE,
    # A GCS that can't reach its state gives up after a few of these, and is started again.
    "RAY_gcs_redis_heartbeat_interval_milliseconds": "2000",
    # Actors outlast any time without a GCS; one that comes back is found soon.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "86400",
    "RAY_gcs_rpc_server_connect_timeout_s": "30",
    "RAY_gcs_grpc_initial_reconnect_backoff_ms": "50",
    "RAY_gcs_grpc_max_reconnect_backoff_ms": "500",
    "RAY_enable_metrics_collection": "0",
    # Twice in this time the GCS writes six figures of its use, each a transaction of our store.
    "RAY_metrics_report_interval_ms": "3600000",
    "RAY_event_stats": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_io_context_event_loop_lag_collection_interval_ms": "60000",
    "RAY_io_context_monitor_probe_interval_ms": "60000",
    "RAY_raylet_death_check_interval_milliseconds": "1000",
    "RAY_object_manager_timer_freq_ms": "1000",
    "RAY_report_worker_backlog_interval_ms": "10000",
    "RAY_free_objects_period_milliseconds": "10000",
    "RAY_worker_register_timeout_seconds": "60",
    "RAY_raylet_report_resources_period_milliseconds": "1000",
    # A dead raylet has refused three checks after 0.4 s; one that is only slow has six seconds to answer.
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "200",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    # Actors hold leases: on a busy machine they must get their turn when everybody else does. Ray's default is 15.
    "RAY_worker_niceness": "0",
    # Nor are they to be the first that a host without memory ends, before its pods. Ray's default is 1000.
    "RAY_worker_oom_score_adjustment": "0",
    # Without it Ray swaps a loopback address of the cluster for the host's outer one.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


class RayUnusable(Exception):
    """Ray can't be run as it is installed or set; the message names the cause."""


@dataclass(frozen=True)
class Hosted:
    """One component to place: two copies of it, `<name>-a` at home on the first node and `<name>-b` on the second.

    Each node has the JSON form of its `hosted.HostedSettings` in a file of its own, see `settings_file`.
    """

    name: str
    factory: str


@dataclass(frozen=True)
class HeadSettings:
    """How a node runs the GCS while it holds the lease `gcs`, for which it competes through `client`'s API server.

    The GCS listens on `gcs_port` and keeps its state behind the RESP front at `state_host`:`state_port`, over TLS if
    there is a `state_ca_file`. A state of another `generation` is dropped.
    """

    client: ClientSettings
    gcs_port: int
    state_host: str
    state_port: int
    state_password: str
    generation: str
    state_ca_file: str = ""
    state_cert_file: str = ""
    state_key_file: str = ""
    lease: str = "gcs"
    lease_ttl_ms: int = 2000


@dataclass(frozen=True)
class WireTls:
    """PEM files for Ray's own wire: the certificate names every host, since each forwarder leads to any of them."""

    ca_file: str
    cert_file: str
    key_file: str


@dataclass(frozen=True)
class RayNodeSettings:
    """One Ray node. `hosted` is what the cluster's actors are, the same for all nodes.

    `gcs_address` is this node's forwarder, which its processes take for the GCS. The folder must be short enough for a
    Unix socket (84 bytes). Port 0 lets the raylet choose. `position` is a letter: copies are at home at "a" and "b".
    Without `wire_tls` Ray's processes speak plainly, which only loopback is fit for.
    """

    name: str
    position: str
    folder: str
    gcs_address: str
    token_file: str
    head: HeadSettings
    hosted: tuple[Hosted, ...] = ()
    ip: str = "127.0.0.1"
    node_manager_port: int = 0
    object_manager_port: int = 0
    object_store_bytes: int = 78_643_200
    stop_grace_s: float = 1.0
    wire_tls: WireTls | None = None

    def __post_init__(self) -> None:
        if len(os.fsencode(self.raylet_socket)) > _SOCKET_PATH_BYTES_MAX - 6:
            raise RayUnusable(f"folder {self.folder!r} is too long for the Unix sockets of a Ray node")

    @property
    def session_folder(self) -> Path:
        return Path(self.folder) / SESSION

    @property
    def raylet_socket(self) -> str:
        return str(self.session_folder / "sockets" / "raylet")

    @property
    def store_socket(self) -> str:
        return str(self.session_folder / "sockets" / "plasma_store")

    @property
    def zygote_socket(self) -> str:
        return str(self.session_folder / "sockets" / "zygote")


def settings_file(folder: str, component: str) -> Path:
    """Return where a node keeps the settings of a component that it may host."""
    return Path(folder) / "components" / f"{component}.json"


def environment(settings: RayNodeSettings) -> dict[str, str]:
    """Return the environment of all processes of a node, the actors' included."""
    return {
        **os.environ,
        **_KNOBS,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": settings.token_file,
        "RAY_TMPDIR": settings.folder,
        MARK: settings.folder,
        POSITION: settings.position,
        **_wire(settings.wire_tls),
    }


def _wire(tls: WireTls | None) -> dict[str, str]:
    if tls is None:
        return {"RAY_USE_TLS": "0"}
    return {
        "RAY_USE_TLS": "1",
        "RAY_TLS_CA_CERT": tls.ca_file,
        "RAY_TLS_SERVER_CERT": tls.cert_file,
        "RAY_TLS_SERVER_KEY": tls.key_file,
    }


def gcs_environment(head: HeadSettings) -> dict[str, str]:
    """Return what the GCS's environment has beside that: its certificate for its state."""
    return {
        "RAY_REDIS_CA_CERT": head.state_ca_file,
        "RAY_REDIS_CLIENT_CERT": head.state_cert_file,
        "RAY_REDIS_CLIENT_KEY": head.state_key_file,
    }


def ray_folder() -> Path:
    """Return where ray is installed, without importing it. Raises RayUnusable if it is missing or another release."""
    spec = importlib.util.find_spec("ray")
    if spec is None or not spec.submodule_search_locations:
        raise RayUnusable("ray is not installed")
    if not version("ray").startswith(RAY_RELEASE + "."):
        raise RayUnusable(f"ray {version('ray')} is installed, but {RAY_RELEASE} is needed")
    folder = Path(spec.submodule_search_locations[0])
    for part in (_GCS_SERVER, _RAYLET, _WORKER):
        if not (folder / part).exists():
            raise RayUnusable(f"the installed ray lacks {part}")
    return folder


_GCS_SERVER = "core/src/ray/gcs/gcs_server"
_RAYLET = "core/src/ray/raylet/raylet"
_WORKER = "_private/workers/default_worker.py"
_WORKER_STARTER = Path(__file__).with_name("ray_worker.py")
_FIRST_JOB: Final = "01000000"
"""Ray's id of the first driver, whose actors ours are: the placement has no other before it."""
_ZYGOTE_MODULES: Final = (
    "ray._private.workers.default_worker",
    # What that imports only as it connects.
    "ray._common.usage.usage_lib",
    "ray._common.pydantic_compat",
    "ray._private.arrow_serialization",
    "oarlock.actors.shell.ray_actor",
)


def prepare_folders(settings: RayNodeSettings) -> None:
    """Create what Ray expects to be there and clear sockets that a dead raylet left."""
    for part in ("logs", "sockets", "runtime_resources", "spill"):
        (settings.session_folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
    for stale in (settings.raylet_socket, settings.store_socket):
        Path(stale).unlink(missing_ok=True)


def write_flags(settings: RayNodeSettings) -> Path:
    """Put the password, which is to be seen on no command line, where the GCS reads it; return the file."""
    file = settings.session_folder / "gcs.flags"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(f"--redis_password={settings.head.state_password}\n")
    return file


def gcs_command(settings: RayNodeSettings, fence: str) -> list[str]:
    """Return the command line of the GCS, which writes under `fence` (NAME=EPOCH)."""
    head, logs = settings.head, settings.session_folder / "logs"
    return [
        str(ray_folder() / _GCS_SERVER),
        f"--log_dir={logs}",
        "--config_list=e30=",  # base64 of {}: all options come from the environment
        f"--gcs_server_port={head.gcs_port}",
        f"--redis_address={head.state_host}",
        f"--redis_port={head.state_port}",
        f"--redis_enable_ssl={'true' if head.state_ca_file else 'false'}",
        f"--redis_username={fence}",
        f"--flagfile={write_flags(settings)}",
        f"--metrics-agent-port={_NO_PORT}",
        f"--node-ip-address={settings.ip}",
        f"--session-name={SESSION}",
        f"--session-dir={settings.session_folder}",
        f"--node-id={secrets.token_hex(28)}",
        f"--stdout_filepath={logs}/gcs_server.out",
        f"--stderr_filepath={logs}/gcs_server.err",
    ]


def raylet_command(settings: RayNodeSettings, cluster_id: str) -> list[str]:
    """Return the command line of a raylet that joins as a new node, under an id of its own."""
    session, logs = settings.session_folder, settings.session_folder / "logs"
    return [
        str(ray_folder() / _RAYLET),
        f"--raylet_socket_name={settings.raylet_socket}",
        f"--store_socket_name={settings.store_socket}",
        f"--object_manager_port={settings.object_manager_port}",
        f"--node_manager_port={settings.node_manager_port}",
        "--min_worker_port=0",
        "--max_worker_port=0",
        f"--node_id={secrets.token_hex(28)}",
        f"--node-name={settings.name}",
        f"--node_ip_address={settings.ip}",
        "--maximum_startup_concurrency=2",
        f"--static_resource_list={_resources(settings)}",
        f"--python_worker_command={subprocess.list2cmdline(_worker_command(settings, cluster_id))}",
        "--java_worker_command=",
        "--cpp_worker_command=",
        f"--native_library_path={ray_folder() / 'cpp' / 'lib'}",
        f"--temp_dir={settings.folder}",
        f"--session_dir={session}",
        f"--session-name={SESSION}",
        f"--log_dir={logs}",
        f"--resource_dir={session / 'runtime_resources'}",
        f"--metrics-agent-port={_NO_PORT}",
        f"--metrics_export_port={_UNUSED_PORT}",
        f"--runtime_env_agent_port={_UNUSED_PORT}",
        f"--dashboard_agent_listen_port={_UNUSED_PORT}",
        f"--dashboard_agent_command={subprocess.list2cmdline(_STAND_IN_AGENT)}",
        f"--runtime_env_agent_command={subprocess.list2cmdline(_STAND_IN_AGENT)}",
        f"--object_store_memory={settings.object_store_bytes}",
        f"--plasma_directory={_plasma_folder(settings)}",
        f"--fallback_directory={session / 'spill'}",
        "--ray-debugger-external=0",
        f"--labels={json.dumps({POSITION_LABEL: settings.position})}",
        "--num_prestart_python_workers=0",
        f"--gcs-address={settings.gcs_address}",
        f"--cluster-id={cluster_id}",
        f"--stdout_filepath={logs}/raylet.out",
        f"--stderr_filepath={logs}/raylet.err",
    ]


def worker_environment(raylet: int) -> dict[str, str]:
    """Return what a raylet puts into the environment of its workers, and ray reads as soon as it is loaded."""
    return {ray_zygote.RAYLET: str(raylet), ray_zygote.JOB: _FIRST_JOB}


def zygote_command(settings: RayNodeSettings) -> list[str]:
    """Return the command line of the process that workers are forked from."""
    components = {one.factory.partition(":")[0]: None for one in settings.hosted}
    return [sys.executable, "-m", ray_zygote.__name__, settings.zygote_socket, *_ZYGOTE_MODULES, *components]


def _worker_command(settings: RayNodeSettings, cluster_id: str) -> list[str]:
    return [
        sys.executable,
        "-I",
        "-S",
        str(_WORKER_STARTER),
        settings.zygote_socket,
        str(ray_folder() / _WORKER),
        f"--node-ip-address={settings.ip}",
        "--node-manager-port=RAY_NODE_MANAGER_PORT_PLACEHOLDER",
        f"--object-store-name={settings.store_socket}",
        f"--raylet-name={settings.raylet_socket}",
        "--redis-address=None",
        f"--metrics-agent-port={_NO_PORT}",
        f"--logging-rotate-bytes={_KNOBS['RAY_ROTATION_MAX_BYTES']}",
        f"--logging-rotate-backup-count={_KNOBS['RAY_ROTATION_BACKUP_COUNT']}",
        f"--runtime-env-agent-port={_UNUSED_PORT}",
        f"--gcs-address={settings.gcs_address}",
        f"--session-name={SESSION}",
        f"--temp-dir={settings.folder}",
        "--webui=None",
        f"--cluster-id={cluster_id}",
        "RAY_WORKER_DYNAMIC_OPTION_PLACEHOLDER",
    ]


def _resources(settings: RayNodeSettings) -> str:
    amounts = {
        "CPU": 1,
        "memory": 1 << 30,
        "object_store_memory": settings.object_store_bytes,
        f"node:{settings.ip}": 1,
    }
    return ",".join(f"{name},{amount}" for name, amount in amounts.items())


def _plasma_folder(settings: RayNodeSettings) -> str:
    """Shared memory where there is room; a container's /dev/shm is often too small."""
    try:
        roomy = shutil.disk_usage("/dev/shm").free > 2 * settings.object_store_bytes  # noqa: S108
    except OSError:
        roomy = False
    return "/dev/shm" if roomy else settings.folder  # noqa: S108
