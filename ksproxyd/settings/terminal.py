"""``terminal``: shells in pods, on nodes and in one's own pod, and files in and out of containers (spec 05, 9)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from ksproxyd.settings.kinds import (
    ITEMS,
    Duration,
    Flag,
    Origin,
    Range,
    Size,
    Text,
    Whole,
    read_text,
    seconds,
    size,
)
from ksproxyd.settings.section import Section, part, setting


class KubectlSettings(Section):
    """The pod of a kubectl terminal."""

    image: Text = setting("kubesphere/kubectl:v1.27.4", "Image of the pod.")
    start_timeout: Annotated[Duration, seconds(1)] = setting(60.0, "How long the pod may take to become ready.")
    lifetime: Annotated[Duration, seconds(60)] = setting(43200.0, "The pod ends after this, whatever is done in it.")


class NodeShellSettings(Section):
    """The pod of a node's terminal."""

    enabled: Flag = setting(True, "Whether there are terminals on nodes at all.")
    image: Text = setting("alpine:3.15", "Image of the pod.")
    image_pull_policy: Annotated[Literal["Always", "IfNotPresent", "Never"], BeforeValidator(read_text)] = setting(
        "IfNotPresent", "When the image is pulled."
    )
    timeout: Annotated[Whole, Range(0)] = setting(
        600, "Kept for its name: a session's pod lives as long as `maxDuration` allows the session to."
    )
    deny_selector: Text = setting("", "Label selector of nodes that have no terminal.")
    priority_class: Text = setting("", "Priority class of the pod; empty for the cluster's default.")


class RecordingSettings(Section):
    """Recordings of sessions (asciicast v2: output and sizes, never what is typed)."""

    enabled: Flag = setting(False, "Whether sessions are recorded.")
    directory: Text = setting("", "Folder of the recordings, one file a session. Required if `enabled`.")
    failure_policy: Annotated[Literal["open", "closed"], BeforeValidator(read_text)] = setting(
        "open", "What happens to a session that cannot be recorded: `open`: it goes on; `closed`: it ends."
    )
    max_bytes: Annotated[Size, size(1024)] = setting(100 * 2**20, "Largest recording of one session.")
    retention: Annotated[Duration, seconds(0)] = setting(30 * 86400.0, "Age at which recordings are deleted; 0: never.")


class TerminalSettings(Section):
    """Terminals in the browser."""

    kubectl: KubectlSettings = part(KubectlSettings)
    node: NodeShellSettings = part(NodeShellSettings)
    recording: RecordingSettings = part(RecordingSettings)
    upload_file_limit: Annotated[Size, size(0)] = setting(
        100 * 2**20, "Most bytes of files in one upload into a container."
    )
    upload_timeout: Annotated[Duration, seconds(1)] = setting(900.0, "Longest time that an upload may take.")
    spool_limit: Annotated[Size, size(0)] = setting(2**30, "Most bytes of uploads on this process's disk at a time.")
    download_limit: Annotated[Size, size(0)] = setting(0, "Most bytes of one download; 0: no limit.")
    download_timeout: Annotated[Duration, seconds(1)] = setting(3600.0, "Longest time that a download may take.")
    page: Flag = setting(True, "Whether `/terminal/` serves a page with a terminal.")
    shells: Annotated[tuple[Text, ...], ITEMS] = setting(
        (), "Programs besides `bash` and `sh` that may be asked for as `shell`."
    )
    allowed_origins: Annotated[tuple[Origin, ...], ITEMS] = setting(
        (), "Origins besides the gateway's own whose pages may open terminals, as `https://console.example`."
    )
    idle_timeout: Annotated[Duration, seconds(1, off=True)] = setting(
        1800.0, "A session in which nothing is typed; 0: no limit."
    )
    max_duration: Annotated[Duration, seconds(1, off=True)] = setting(43200.0, "Longest session; 0: no limit.")
    ping_interval: Annotated[Duration, seconds(1)] = setting(25.0, "Time between pings to the browser.")
    pong_timeout: Annotated[Duration, seconds(1)] = setting(
        60.0, "A browser from which nothing has come for this long is gone."
    )
    slow_client: Annotated[Duration, seconds(1)] = setting(
        120.0, "A browser that does not read for this long is disconnected."
    )
    recheck: Annotated[Duration, seconds(0.5)] = setting(
        3.0, "Interval at which it is asked whether a session's user may still have it."
    )
    hang_up: Annotated[Duration, seconds(0)] = setting(
        2.0, "How long a shell that is hung up may take to end by itself."
    )
    shutdown_grace: Annotated[Duration, seconds(0)] = setting(30.0, "How long sessions go on when the gateway stops.")
    max_message_size: Annotated[Size, size(1024, 2**24)] = setting(2**20, "Largest message of a browser.")
    max_sessions: Annotated[Whole, Range(1)] = setting(500, "Sessions at a time in this process.")
    max_sessions_per_user: Annotated[Whole, Range(1)] = setting(20, "Sessions at a time of one user.")
    starts_per_minute: Annotated[Whole, Range(1)] = setting(30, "Sessions that one user may begin in a minute.")
    reattach: Annotated[Duration, seconds(0)] = setting(
        30.0,
        "How long a session waits for its browser to come back after the connection broke, where its page asks for "
        "that; 0: not at all.",
    )
    scroll_back: Annotated[Size, size(0, 2**24)] = setting(
        256 * 2**10, "Last output of a session that is kept for a browser that comes back."
    )
