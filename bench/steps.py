"""What a further step costs, and whether that grows with their number: in order, and by `needs`.

CPU milliseconds a step, over the cost of a flow with one, with repeated expressions and a small `data_key`.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from measure import PYTHON, always, cost, counts

STEPS = {
    "jq": '- {{name: s{0}, type: jq, jq: {{data_key: seed, expression: "map(. + 1) | add"}}}}\n',
    "set_fact": '- {{name: s{0}, type: set_fact, set_fact: {{value: "{{{{ seed | length }}}}"}}}}\n',
    "when": '- {{name: s{0}, type: set_fact, when: "seed | length == 3", set_fact: {{value: 1}}}}\n',
    "needs": '- {{name: s{0}, type: jq, needs: [seed], jq: {{data_key: seed, expression: "map(. + 1) | add"}}}}\n',
}
SEED = "- {name: seed, type: set_fact, set_fact: {value: [1, 2, 3]}}\n"


def main(counts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tasks = Path(folder) / "workspace" / "tasks"
        tasks.mkdir(parents=True)
        environment = {
            "HOME": folder,
            "PATH": os.environ["PATH"],
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_CACHE_HOME": f"{folder}/cache",
        }
        flows = (PYTHON, "-P", "-m", "scflows", "run")
        for name, step in STEPS.items():
            for count in (1, *counts):
                text = "max_steps: 100000\nsteps:\n" + SEED + "".join(step.format(number) for number in range(count))
                (tasks / f"{name}{count}.yml").write_text(text)
        # A flow that was changed just now is not kept as checked yet.
        time.sleep(2.2)
        for name in STEPS:
            costs = {}
            for count in (1, *counts):
                path = str(tasks / f"{name}{count}.yml")
                runs = 5 if count < 5000 else 2
                costs[count] = cost(always(*flows, path), environment, runs, str(tasks.parent)).cpu
            told = ", ".join(f"{count}: {(costs[count] - costs[1]) / (count - 1) * 1000:6.3f} ms" for count in counts)
            print(f"{name:<10} {told}", flush=True)


if __name__ == "__main__":
    main(counts(__doc__, 100, 1000, 10_000))
