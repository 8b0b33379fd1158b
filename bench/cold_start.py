"""What a one-step `flows run` costs: as cron starts it, and as a person types it; and what a further step costs.

Prints multiples of `python -c pass`, both measured in this run, and the peak memory.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from measure import PYTHON, always, arguments, bare, cost

ONE = "steps: [{name: write, type: file, file: {path: out.json, mode: write, type: json, data_key: __input__}}]\n"
STEPS = {
    "jq": '- {{name: s{}, type: jq, jq: {{data_key: seed, expression: "map(. + 1) | add"}}}}\n',
    "set_fact": '- {{name: s{}, type: set_fact, set_fact: {{value: "{{{{ seed | length }}}}"}}}}\n',
    "when": '- {{name: s{}, type: set_fact, when: "seed | length == 3", set_fact: {{value: 1}}}}\n',
}
MANY = 1000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tasks = root / "workspace" / "tasks"
        tasks.mkdir(parents=True)
        environment = {
            "HOME": folder,
            "PATH": os.environ["PATH"],
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_CACHE_HOME": f"{folder}/cache",
            "CRONTAB_PROGRAM": "none",
        }
        flows = (PYTHON, "-P", "-m", "scflows")
        home = str(tasks.parent)
        (tasks / "one.yml").write_text(ONE)
        cost(lambda n: (*flows, "manual-schedule", "one.yml", "--overwrite"), environment, runs=1, cwd=home)
        # A flow that was changed just now is not kept as checked yet.
        time.sleep(2.2)
        cost(lambda n: (*flows, "run", "one.yml"), environment, runs=1, cwd=home)
        one = str(tasks / "one.yml")
        state = f"{folder}/state/scflows"
        first = int(time.time()) // 60 * 60
        base = bare(environment)
        cron = cost(
            lambda n: (*flows, "run", one, "--task", "one", "--state", state, "--slot", str(first + n * 60)),
            environment,
        )
        typed = cost(lambda n: (*flows, "run", "one.yml"), environment, cwd=home)
        print(f"python -c pass      {base.cpu * 1000:6.1f} ms  {base.peak:5.1f} MiB")
        for name, each in (("cron's form", cron), ("as typed", typed)):
            print(f"{name:<18}  {each.cpu * 1000:6.1f} ms  {each.peak:5.1f} MiB  {each.cpu / base.cpu:5.2f} x")
        for name, step in STEPS.items():
            costs = []
            for count in (1, MANY + 1):
                text = "steps:\n- {name: seed, type: set_fact, set_fact: {value: [1, 2, 3]}}\n"
                text += "".join(step.format(number) for number in range(count))
                (tasks / f"{name}{count}.yml").write_text(text)
            time.sleep(2.2)
            for count in (1, MANY + 1):
                flow = f"{name}{count}.yml"
                cost(always(*flows, "run", flow), environment, runs=1, cwd=home)
                costs.append(cost(always(*flows, "run", flow), environment, runs=7, cwd=home).cpu)
            print(f"a further {name:<10} {(costs[1] - costs[0]) / MANY * 1000:6.3f} ms")


if __name__ == "__main__":
    arguments(__doc__).parse_args()
    main()
