"""The child process that evaluates policies (extra ``rego``): one line of JSON in, one out.

::

    in    {"id": 1, "policy": "package authz ...", "input": {...}}
    out   {"id": 1, "allow": true}             or {"id": 1, "allow": false, "problem": "..."}

The engine is native code that policies of others run in: a process of its own can be given limits, and may die.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

#: Compiled policies that are kept, and kilobytes of memory after which the process ends; another one is started then.
POLICIES = 64
MEMORY = 512 * 1024

#: Built-in functions that answer differently at each call, or tell of the machine: answers are remembered.
FORBIDDEN = ("http.", "net.", "opa.", "rand.", "time.now", "uuid.", "trace(", "print(")

QUERY = "data.authz.allow"


def compiled(policy: str) -> tuple[Any, Any]:
    """An interpreter and its bundle for ``policy``. Raises :class:`ValueError` for one that is not to be run."""
    from regopy import Interpreter, RegoError

    for word in FORBIDDEN:
        if word in policy:
            raise ValueError(f"the policy uses {word.rstrip('.(')}, which policies may not use here")
    interpreter = Interpreter()
    try:
        interpreter.add_module("policy", policy)
        return interpreter, interpreter.build(QUERY, [])
    except (RegoError, RuntimeError) as error:
        raise ValueError(str(error)[:500]) from None


def evaluated(known: dict[str, tuple[Any, Any] | str], policy: str, document: Any) -> tuple[bool, str]:
    """What ``policy`` says of ``document``, and what is wrong with it."""
    found = known.get(policy)
    if found is None:
        if len(known) >= POLICIES:
            known.clear()
        try:
            found = compiled(policy)
        except ValueError as error:
            found = str(error)
        known[policy] = found
    if isinstance(found, str):
        return False, found
    interpreter, bundle = found
    try:
        interpreter.set_input(document)
        output = interpreter.query_bundle(bundle)
        if not output.ok():
            return False, ""
        # Only the boolean counts.
        return any(True in result.expressions for result in output.results if result.expressions[:1] == [True]), ""
    except Exception as error:
        return False, str(error)[:500]


def main() -> None:
    """Answer until the input ends."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    # The engine reserves more addresses than it uses, so these cannot be limited; if memory runs out, it goes first.
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    # The engine prints what it does not like; answers are ours alone to write.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    known: dict[str, tuple[Any, Any] | str] = {}
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        allow, problem = evaluated(known, asked["policy"], asked["input"])
        answer = {"id": asked["id"], "allow": allow, **({"problem": problem} if problem else {})}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > MEMORY:
            break
    # Without the engine's own way to end, which ends in an abort.
    os._exit(0)


if __name__ == "__main__":
    main()
