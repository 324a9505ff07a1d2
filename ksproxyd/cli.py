"""``ksproxyd``: run the gateway, and what one needs around it."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

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
  explain USER VERB PATH  say why USER may do VERB at PATH, or what would have to be granted
      --group GROUP       as if USER were in this group and no other; may be given again
      --url URL           gateway to ask (http://127.0.0.1:9090); routes and explain show it KSPROXYD_TOKEN, if set
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
        "explain": explain,
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
    options = _options(words, {"--url"})
    if options is None or options[0]:
        print(USAGE, end="", file=sys.stderr)
        return 2
    found = _asked(options[1], "/ksproxyd/routes")
    if found is None:
        return 1
    for route in found["routes"]:
        print(f"{route['path']:<60} {route['node']}")
    return 0


def explain(words: list[str]) -> int:
    """Ask a running gateway why somebody may do something, or may not. The exit code is 3 if not."""
    import msgspec

    from ksproxyd.authz.explain import Explanation, lines

    options = _options(words, {"--url", "--group"})
    if options is None or len(options[0]) != 3:
        print(USAGE, end="", file=sys.stderr)
        return 2
    (user, verb, path), named = options
    asked = [("user", user), ("verb", verb), ("path", path), *(("group", group) for group in named.get("--group", []))]
    found = _asked(named, "/ksproxyd/explain?" + urllib.parse.urlencode(asked))
    if found is None:
        return 1
    explanation = msgspec.convert(found, Explanation)
    for line in lines(explanation):
        print(line)
    return 0 if explanation.allowed else 3


def _options(words: list[str], known: set[str]) -> tuple[list[str], dict[str, list[str]]] | None:
    """The words that are no options, and the values of those that are; None for what is neither."""
    plain: list[str] = []
    named: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        if word in known:
            value = next(rest, None)
            if value is None:
                return None
            named.setdefault(word, []).append(value)
        elif word.startswith("--"):
            return None
        else:
            plain.append(word)
    return plain, named


def _asked(named: dict[str, list[str]], target: str) -> Any:
    """What a running gateway answers; None if it does not, which has been said."""
    url = named.get("--url", ["http://127.0.0.1:9090"])[-1]
    token = os.environ.get("KSPROXYD_TOKEN", "")
    fields = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url.rstrip("/") + target, headers=fields), timeout=10
        ) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        try:
            why = str(json.load(error)["message"])
        except (ValueError, KeyError, TypeError):
            why = str(error)
        print(f"ksproxyd: {url} refuses: {why}", file=sys.stderr)
    except (urllib.error.URLError, OSError, ValueError) as error:
        print(f"ksproxyd: {url} does not answer: {error}", file=sys.stderr)
    return None


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
