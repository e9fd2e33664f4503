"""Runs `rpc --container` with several no-ops by turns, and compares each with the first of them.

    noops.py RPC ROUNDS NAME=COMMAND...

Prints, for each row of the bench that uses shared memory, batches a second of the first, and the ratio of
each other one: the median of the rounds, the least and the most.
"""

import json
import statistics
import subprocess
import sys


def measured(rpc, command):
    """Batches a second, by (path, bytes, how many are in flight)."""
    run = [rpc, "--json", "--only", "skysail shm", "--bursts", "5", "--container", command]
    answer = json.loads(subprocess.run(run, check=True, stdout=subprocess.PIPE).stdout)
    return {
        (row["name"], row["payload_bytes"], row["metric"]): row["median"]
        for row in answer["rows"]
        if row["unit"] == "/s"
    }


def main(rpc, rounds, *containers):
    commands = dict(one.split("=", 1) for one in containers)
    first, *others = commands
    found = {name: [] for name in commands}
    for _ in range(int(rounds)):
        for name, command in commands.items():
            found[name].append(measured(rpc, command))
    print(f"{'':52} {first + ', /s':>12}", *(f"{name + ' / ' + first:>24}" for name in others))
    for row in found[first][0]:
        yardsticks = [one[row] for one in found[first]]
        cells = []
        for name in others:
            ratios = sorted(one[row] / base for one, base in zip(found[name], yardsticks))
            middle = statistics.median(ratios)
            cells.append(f"{middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        path, payload_bytes, metric = row
        what = f"{path}, {payload_bytes} B, {metric}"
        print(f"{what:52} {statistics.median(yardsticks):12,.0f}", *(f"{cell:>24}" for cell in cells))


if __name__ == "__main__":
    main(*sys.argv[1:])
