"""What was measured, as a table in Markdown and as a picture."""
import os
import platform
import subprocess

from plot import picture
from rows import MEMORY, START, jobs


def rows_of_table():
    """(key, title, row) in the table's order."""
    for job in jobs(""):
        for row in job.rows:
            key = job.key(row)
            yield key, row.title + (f", {job.name}" if "@" in key else ""), row


def number(value):
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def ratio_cells(times, base, limit):
    cells = []
    for name in ("trap", "ptrace", "runsc"):
        if name not in times or base not in times:
            cells.append("–")
            continue
        ratio = times[name] / times[base]
        cells.append(number(ratio) + (" **missed**" if name == "trap" and limit and ratio > limit else ""))
    return cells


def table(times, busy):
    lines = ["| work | native, ns | trap, × | ptrace, × | runsc, × | mark | gVisor's newest |",
             "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]

    def line(title, base, cells, mark, gvisor):
        lines.append(f"| {title} | {base} | {' | '.join(cells)} | {mark or ''} | {gvisor or ''} |")

    for key, title, row in rows_of_table():
        seen = times.get(key, {})
        if seen:
            base = f"{seen['native']:,.0f}" if "native" in seen else "–"
            line(title, base, ratio_cells(seen, "native", row.limit(busy)), row.mark, row.gvisor)
    seen = times.get(START.name, {})
    if seen:
        base = f"{seen['runc']:,.0f} (runc)" if "runc" in seen else "–"
        line(START.title, base, ratio_cells(seen, "runc", START.limit(busy)), START.mark, START.gvisor)
    seen = times.get(MEMORY.name, {})
    if seen:
        cells = [f"{seen[name]:,.0f}" if name in seen else "–" for name in ("trap", "ptrace", "runsc")]
        if seen.get("trap", 0) > MEMORY.limit(busy):
            cells[0] += " **missed**"
        line(MEMORY.title, "", cells, f"{MEMORY.mark:,}", f"{MEMORY.gvisor:,.0f}")
    return "\n".join(lines)


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    version = subprocess.run(["runsc", "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    return f"{os.cpu_count()} cores ({model}), Linux {platform.release()}, {version} (ptrace)"


def bars(times, busy):
    """(title, {environment: ratio}, limit) of every row that has a ratio."""
    for key, title, row in [*rows_of_table(), (START.name, START.title, START)]:
        seen = times.get(key, {})
        base = seen.get("runc" if row is START else "native")
        if base:
            yield title, {name: seen[name] / base for name in ("trap", "runsc") if name in seen}, row.limit(busy)


def write_results(directory, times, busy):
    name = "results-busy" if busy else "results"
    state = f"with {busy} busy process(es) beside" if busy else "the other core idle"
    with open(os.path.join(directory, name + ".md"), "w") as f:
        f.write(f"# Measured, {state}\n\nMade by `./dev bench{' --busy' if busy else ''}` on {machine()}: the best of several "
                "rounds in one run, in turns. × is the time divided by the native one; –: did not run, or not to its end. "
                "The last column was measured elsewhere, on a machine of the same kind"
                f"{'; here no row may be worse than it' if busy else ''}.\n\n![The same as a picture]({name}.svg)"
                f"\n\n{table(times, busy)}\n")
    with open(os.path.join(directory, name + ".svg"), "w") as f:
        f.write(picture(f"Run9 (trap) and runsc (ptrace) beside the native kernel, {state}", list(bars(times, busy))))
