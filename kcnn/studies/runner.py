"""Runs the tasks of a study, each in a process of its own: on this machine, or as jobs of a cluster."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from kcnn.errors import KcnnError
from kcnn.machine.files import write_json, write_text
from kcnn.machine.processes import run_module
from kcnn.run.directory import RunDir
from kcnn.studies.command import evaluation
from kcnn.studies.tasks import BLOCKED, FINISHED, UNFINISHED, Task, finished_result, state_of

LOOK = 0.3  # seconds between two looks at what is running
Failures = dict[Path, str]  # path of a task → why


class Job(Protocol):
    """What a pool gives for a function that it runs; futures and submitit's jobs are such."""

    def done(self) -> bool:
        """Whether it has ended."""

    def result(self) -> Any:
        """What the function has returned, or its exception."""


class Pool(Protocol):
    """Runs functions elsewhere, each as a `Job`."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Begin to run it."""


Watch = Callable[[Sequence[Task], Failures, Sequence[Task]], None]


def run_tasks(tasks: Sequence[Task], pool: Pool, jobs: int, threads: int, watch: Watch) -> Failures:
    """Run all tasks, at most `jobs` at a time and each after the one that it stands on; what failed, and why.

    Args:
        threads: of each process; 0: as many as it likes.
        watch: is told often which tasks run, which have failed, and which have ended since.
    """
    waiting, running, failures = list(tasks), list[tuple[Task, Job]](), Failures()
    while waiting or running:
        unfinished = {task.path for task in waiting} | {task.path for task, _ in running}
        ready = [task for task in waiting if not task.source or task.source.path not in unfinished]
        for task in ready[: jobs - len(running)]:
            waiting.remove(task)
            stands = task.source is None or task.source.path not in failures
            running.append((task, pool.submit(work, task, stands, threads)))
        ended = [(task, job) for task, job in running if job.done()]
        running = [(task, job) for task, job in running if not job.done()]
        failures |= {task.path: reason for task, job in ended if (reason := _outcome(job))}
        watch([task for task, _ in running], failures, [task for task, _ in ended])
        time.sleep(0 if ended else LOOK)
    return failures


def _outcome(job: Job) -> str:
    """Why it failed; "" if it did not."""
    try:
        return str(job.result())
    except Exception as error:  # of the pool: a cluster's job that was cancelled or lost, for one
        return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def work(task: Task, stands: bool, threads: int) -> str:
    """Do what is left of a task and wait for it; the reason if it fails, which is also kept beside the run.

    Args:
        stands: whether what it stands on has not failed.
    """
    task.failure_file.unlink(missing_ok=True)
    try:
        reason = _run(task, threads) if stands or not task.source else f"{task.source.title} failed, its start."
    except KcnnError as error:
        reason = str(error)
    if reason:
        task.failure_file.parent.mkdir(parents=True, exist_ok=True)
        write_text(task.failure_file, reason + "\n")
    return reason


def _run(task: Task, threads: int) -> str:
    state = state_of(task)
    if state.kind in (BLOCKED, FINISHED):
        return state.reason
    task.path.parent.mkdir(parents=True, exist_ok=True)
    if task.row.test_of:
        arguments = [*evaluation(task), "--predictions", str(RunDir(task.path).predictions)]
    elif state.kind == UNFINISHED:
        arguments = ["train", "--resume", str(task.path)]
    else:
        write_text(task.recipe_file, task.recipe.to_toml())
        arguments = ["train", "--recipe", str(task.recipe_file), "--run", str(task.path)]
    return run_module("kcnn", arguments, task.recipe.backend, threads=threads) or _note(task)


def _note(task: Task) -> str:
    """Write beside a run's scores what it was in the study, and over which part of the epochs."""
    run = RunDir(task.path)
    if not task.row.test_of and (result := finished_result(run)):
        place = {"row": task.row.name, "settings": task.settings, "epochs_scale": task.scale}
        write_json(run.result, {**result, "study": place})
    return ""


def processes(jobs: int) -> Pool:
    """Runs on this machine; each function starts a process and waits for it in a thread."""
    return ThreadPoolExecutor(jobs)


def cluster(name: str, folder: Path, threads: int) -> Pool:
    """Runs as jobs of a cluster, through submitit; sbatch's own variables, as SBATCH_PARTITION, say where.

    Args:
        name: slurm, or local for processes of this machine.
        folder: for submitit's files, on a disk that all machines see.

    Raises:
        KcnnError: submitit is not installed, or there is no such cluster.
    """
    try:
        import submitit
    except ImportError as error:
        raise KcnnError("--cluster needs submitit. Run: pip install 'kcnn[submitit]'") from error
    try:
        pool = submitit.AutoExecutor(folder=folder, cluster=name)
    except (ValueError, RuntimeError) as error:
        raise KcnnError(f"submitit finds no cluster {name!r} here: {str(error).splitlines()[0]}") from error
    pool.update_parameters(name="kcnn", timeout_min=60 * 24, cpus_per_task=threads)
    return pool
