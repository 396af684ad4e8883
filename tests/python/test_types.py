"""The package is typed, as it says: mypy's strict mode finds nothing in it or in the worked stage, and sees what a program does wrong with it."""
import os
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
sys.path.insert(0, os.path.join(ROOT, "tests/lib"))
from flow import BUILD, Skip, holds, run_cases, same

PROGRAM = """
import flowrun

with flowrun.Feed("pipeline.yaml", rank=0, world=2) as feed:
    for batch in feed:
        reveal_type(batch["input"])
        reveal_type(batch.ids)
        batch.torch(3)
    feed.load_state_dict(feed.state_dict())
    feed.positions
"""


def mypy(*args):
    """Its status and what it says; imports are followed, as for who uses the package."""
    if subprocess.run([sys.executable, "-m", "mypy", "--version"], capture_output=True).returncode != 0:
        raise Skip("no mypy (apt install mypy)")
    ran = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.path.join(BUILD, "mypy"), *args],
                         cwd=os.path.join(ROOT, "python"), capture_output=True, text=True)
    return ran.returncode, ran.stdout + ran.stderr


def nothing_is_wrong(tmp):
    status, said = mypy("flowrun", "examples/stages/dehaze")
    same(status, 0, said[-3000:])


def a_programs_mistakes_are_seen(tmp):
    path = os.path.join(tmp, "program.py")
    with open(path, "w") as f:
        f.write(PROGRAM)
    status, said = mypy(path)
    same(status, 1, said[-3000:])
    for line, what in ((6, "ndarray[Any"), (7, "list[builtins.str]"), (8, '"torch" of "Batch" has incompatible type "int"'), (10, 'no attribute "positions"')):
        holds(any(f"program.py:{line}:" in s and what in s for s in said.splitlines()), f"{what}: {said}")
    same(said.count(" error: "), 2, said)


if __name__ == "__main__":
    sys.exit(run_cases([nothing_is_wrong, a_programs_mistakes_are_seen]))
