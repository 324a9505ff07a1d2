"""``ksproxyd``: run the gateway, and what one needs around it."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence

from ksproxyd import __version__

USAGE = """\
usage: ksproxyd <command> [options]

  run [options]           run the gateway in the foreground (the options of `twistd ksproxyd`, see run --help)
  check-config [FILE]     check a configuration file; every problem with its line
      --print-config      print what it comes to, secrets hidden
  check-idp NAME [...]    walk the way to an identity provider and say where it ends
      --config FILE       configuration of the gateway
      --kubeconfig FILE   how to reach the cluster, instead of what the configuration says
      --username USER     look this user up, too; asks for the password (empty: not checked)
  routes [--url URL]      print the live resource tree of a running gateway
  crds [--with-roles]     print the custom resource definitions, for kubectl apply -f -
      --with-roles        and the built-in roles and their templates
  kubeconfig USER [...]   print a kubeconfig with which USER logs in through a gateway
  login, logout [...]     log in to a gateway in a browser, and out again; see `ksproxyd login`
  credential [...]        give kubectl a token (what such a kubeconfig runs)
  version                 print the version
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in ``argv``; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    commands: dict[str, Callable[[list[str]], int]] = {
        "run": run,
        "check-config": check_config,
        "check-idp": check_idp,
        "routes": routes,
        "crds": crds,
        "kubeconfig": kubeconfig,
        "login": login,
        "logout": logout,
        "credential": credential,
        "version": version,
    }
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0 if words else 2
    command = commands.get(words[0])
    if command is None:
        print(f"ksproxyd: there is no command {words[0]!r}\n\n{USAGE}", end="", file=sys.stderr)
        return 2
    return command(words[1:])


def run(words: list[str]) -> int:
    """``twistd`` in the foreground with our options: no pid file, logging by our own output."""
    from ksproxyd.observe.notify import inherited_sockets

    try:
        # First of all: Twisted's endpoint plugins take these variables away when they are loaded.
        sockets = inherited_sockets(os.environ)
    except ValueError as error:
        print(f"ksproxyd run: {error}", file=sys.stderr)
        return 1
    from twisted.python.usage import UsageError
    from twisted.scripts.twistd import ServerOptions, runApp

    config = ServerOptions()
    try:
        config.parseOptions(["--nodaemon", "--pidfile=", "ksproxyd", *words])
    except UsageError as error:
        print(f"ksproxyd run: {error}", file=sys.stderr)
        return 2
    config.subOptions.sockets = sockets
    runApp(config)
    return 0


def check_config(words: list[str]) -> int:
    """Load a file and say everything that is wrong with it."""
    from ksproxyd.settings import SettingsError, find_file, load_file, render

    show = "--print-config" in words
    names = [word for word in words if not word.startswith("-")]
    unknown = [word for word in words if word.startswith("-") and word != "--print-config"]
    if unknown or len(names) > 1:
        print(USAGE, end="", file=sys.stderr)
        return 2
    path = names[0] if names else find_file()
    if path is None:
        print("ksproxyd: there is no configuration file; name one", file=sys.stderr)
        return 1
    try:
        loaded = load_file(path, os.environ)
    except SettingsError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if show:
        print(render(loaded.settings), end="")
    else:
        print(f"{path}: fine")
    return 0


def check_idp(words: list[str]) -> int:
    """Try an identity provider as it is configured in the cluster, step by step."""
    import getpass

    from ksproxyd.settings import SettingsError, find_file, load_file
    from ksproxyd.tap import check_provider

    options = {"--config": "", "--kubeconfig": "", "--username": ""}
    names: list[str] = []
    rest = iter(words)
    for word in rest:
        key, equals, value = word.partition("=")
        if key in options:
            options[key] = value if equals else next(rest, "")
            if not options[key]:
                print(f"ksproxyd check-idp: {key} needs a value", file=sys.stderr)
                return 2
        elif word.startswith("-"):
            print(f"ksproxyd check-idp: there is no option {key}\n\n{USAGE}", end="", file=sys.stderr)
            return 2
        else:
            names.append(word)
    if len(names) != 1:
        print(f"ksproxyd check-idp: name one identity provider\n\n{USAGE}", end="", file=sys.stderr)
        return 2
    path = options["--config"] or find_file()
    if path is None:
        print("ksproxyd check-idp: there is no configuration file; name one with --config", file=sys.stderr)
        return 1
    try:
        settings = load_file(path, os.environ).settings
    except SettingsError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    username, password = options["--username"], ""
    if username:
        # Never as an argument: those are for everybody to see.
        read = getpass.getpass(f"Password of {username}: ") if sys.stdin.isatty() else sys.stdin.readline()
        password = read.rstrip("\r\n")
    return check_provider(settings, options["--kubeconfig"], names[0], username, password, print)


def routes(words: list[str]) -> int:
    """Ask a running gateway for its tree."""
    url = "http://127.0.0.1:9090"
    if len(words) == 2 and words[0] == "--url":
        url = words[1]
    elif words:
        print(USAGE, end="", file=sys.stderr)
        return 2
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/ksproxyd/routes", timeout=10) as answer:
            found = json.load(answer)
    except (urllib.error.URLError, OSError, ValueError) as error:
        print(f"ksproxyd: {url} does not tell its routes: {error}", file=sys.stderr)
        return 1
    for route in found["routes"]:
        print(f"{route['path']:<60} {route['node']}")
    return 0


def crds(words: list[str]) -> int:
    """Print the custom resource definitions, and what else there is at the beginning."""
    from ksproxyd import manifests

    if words not in ([], ["--with-roles"]):
        print(USAGE, end="", file=sys.stderr)
        return 2
    print(manifests.crds(), end="")
    if words:
        print("---\n" + manifests.role_stream(), end="")
    return 0


def kubeconfig(words: list[str]) -> int:
    """Print a kubeconfig of somebody who logs in through a gateway."""
    from ksproxyd.kubectl.commands import print_kubeconfig

    return print_kubeconfig(words)


def credential(words: list[str]) -> int:
    """Give kubectl a token."""
    from ksproxyd.kubectl import commands

    return commands.credential(words)


def login(words: list[str]) -> int:
    """Log in to a gateway."""
    from ksproxyd.kubectl import commands

    return commands.login(words)


def logout(words: list[str]) -> int:
    """Log out again."""
    from ksproxyd.kubectl import commands

    return commands.logout(words)


def version(words: list[str]) -> int:
    """Print the version."""
    print(f"ksproxyd {__version__}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
