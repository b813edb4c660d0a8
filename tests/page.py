#!/usr/bin/python3
"""Runs what a page of the documentation tells its reader to run, and compares what is printed with what the page shows.

    page.py SOURCE BUILD PAGE... [--write]

The build is installed into an empty home. There the blocks of a page run in their order: `sh` blocks are commands; `c`, `text` and
`python` blocks that begin with a comment `NAME: ...` are files of that name; a block without a language is what the commands before
it printed, of which every line must be printed again but for numbers, schedules, targets, forms and paths. --write puts the output of this run
into the page. Exit status 77: skipped, with the reason.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PYTHON = "/usr/bin/python3"  # Debian's, whose NumPy the package uses
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
NAME = re.compile(r"(?:/\*|#) *([\w.-]+\.\w+): ")
SAME = [(r"\b((gather|planes|panel|split)[.\w]*/)*(winograd|direct|planar|depthwise|plain)(\.[\w+]+)*(/product[.\w]*)?", "SCHEDULE"),
        (r"/[\w./~-]+", "PATH"),
        (r"\b(avx512|avx2|portable)\b", "TARGET"), (r"\b(machine|c) form\b", "FORM"),
        (r"\S*-\d+k-\d+k-\d+k", "MACHINE"), (r"\b\d[\d.,]*(e[+-]?\d+)?\b", "#"),
        (r"(?<=[\d#]), cut\b", ""), (r"(?<= )-(?= |$)", "#"), (r"\b(ns|us|ms|s)\b", "TIME"), (r" +", " ")]


def normal(line):
    for pattern, word in SAME:
        line = re.sub(pattern, word, line)
    return line.strip()


def installed(build, home):
    """The environment of a user for whom convgen is installed below home/usr."""
    usr = home / "usr"
    subprocess.run(["cmake", "--install", build, "--prefix", usr], check=True, stdout=subprocess.DEVNULL)
    pc = next(usr.glob("**/convgen.pc"))
    library = pc.parent.parent
    text = pc.read_text()
    for key, value in (("prefix", usr), ("libdir", library), ("includedir", usr / "include")):
        text = re.sub(f"^{key}=.*", f"{key}={value}", text, flags=re.M)
    pc.write_text(text)
    numpy = subprocess.run([PYTHON, "-c", "import numpy"], capture_output=True).returncode == 0
    package = next(usr.glob("**/convgen/__init__.py"), None) if numpy else None
    (usr / "bin" / "python3").symlink_to(PYTHON)
    kept = {k: v for k, v in os.environ.items() if k == "CONVGEN_TARGET" or not k.startswith(("CONVGEN_", "XDG_"))}
    return {**kept, "HOME": str(home), "PATH": f"{usr}/bin:{os.environ['PATH']}", "PKG_CONFIG_PATH": str(pc.parent),
            "LD_LIBRARY_PATH": str(library), "PYTHONPATH": str(package.parent.parent) if package else "", "PYTHONDONTWRITEBYTECODE": "1",
            "CONVGEN_TUNED": str(home / "none")}


def warnings(folder, environment):
    """Of the C programs, when all that they include is there."""
    for program in folder.glob("*.c"):
        done = subprocess.run(f"cc -fsyntax-only -Wall -Wextra $(pkg-config --cflags convgen) {program.name}", shell=True, cwd=folder, env=environment,
                              text=True, capture_output=True)
        if done.stderr:
            yield f"the compiler says\n{done.stderr}"


def run(page, folder, environment):
    """(the page with the output of this run, the sentences about what is wrong)."""
    text, wrong, printed, new, end = page.read_text(), [], None, [], 0
    for block in BLOCK.finditer(text):
        language, body = block.groups()
        new.append(text[end:block.start()])
        end = block.end()
        if language == "sh" and "python3 " in body and not environment["PYTHONPATH"]:
            printed = None
            print(f"skipped: {PYTHON} has no NumPy, which {page.name} uses: {body}", end="")
        elif language == "sh":
            done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", body], cwd=folder, env=environment, text=True, capture_output=True, timeout=3600)
            printed = done.stdout.replace(str(folder.parent), "/home/you")
            if done.returncode:
                wrong.append(f"exit status {done.returncode} of\n{body}{done.stdout}{done.stderr}")
        elif language and NAME.match(body):
            (folder / NAME.match(body)[1]).write_text(body)
        elif not language and printed is not None:
            there = {normal(line) for line in printed.splitlines()}
            wrong += [f"the page shows a line that is not printed: {line}\n{printed}" for line in body.splitlines() if normal(line) not in there]
            new.append(f"```\n{printed}```")
            continue
        new.append(block.group())
    return "".join(new) + text[end:], wrong + list(warnings(folder, environment))


def main(source, build, *pages):
    write = "--write" in pages
    for need in ("cc", "cmake", "pkg-config"):
        if not shutil.which(need):
            print(f"skipped: {need} is missing, which the pages use")
            return 77
    status = 0
    with tempfile.TemporaryDirectory() as home:
        environment = installed(build, pathlib.Path(home))
        for name in pages:
            if name == "--write":
                continue
            folder = pathlib.Path(home, pathlib.Path(name).stem)
            folder.mkdir()
            text, wrong = run(pathlib.Path(source, name), folder, environment)
            if write:
                pathlib.Path(source, name).write_text(text)
                wrong = [sentence for sentence in wrong if sentence.startswith("exit")]
            for sentence in wrong:
                print(f"{name}: {sentence}")
            status = status or bool(wrong)
    return int(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
