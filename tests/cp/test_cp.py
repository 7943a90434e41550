# SPDX-License-Identifier: BSD-3-Clause
"""
test_cp.py - pcache-cp and the small examples, as a user meets them.

Goal: a copy is identical or says why not, with the documented exit status; it can be killed at any place and taken up
again; and nothing that is refused changes a file.
Method: run the programs on files with random content. Where a copy has to be caught half-way it is stopped (SIGSTOP) as
soon as its record shows progress, and looked at before anything else is done: no race, no waiting by the clock.

Arguments: pcache-cp, hello and async. Environment: PC_TEST_DIR for files, PC_TEST_CACHE_DIR for caches, PC_TEST_SEED.
"""

import contextlib
import os
import pty
import resource
import shutil
import signal
import subprocess

from harness import (ASYNC, CEILING_S, COPIER, FAILED, HELLO, INTERRUPTED, MIB, OK, RANDOM, REFUSED, SEED, TERMINATED,
                     USAGE, check_status, content, figures, half_way, kill_half_way, let_end, number, place, run, tap,
                     wait_for)


# Copies

def copy_of_any_size_is_identical():
    for size in (1, 511, 512, 4096, 4097, 65535, 65537, MIB, 5000011):
        with place() as here:
            here.fill(size)
            here.run()
            here.check_complete()


def copy_of_empty_file_is_empty():
    with place() as here:
        here.fill(0)
        here.fill(1000, here.destination)
        here.run()
        here.check_complete()


def copy_onto_existing_file_takes_its_place():
    for old_size in (10, 3 * MIB):
        with place() as here:
            here.fill(MIB + 7)
            here.fill(old_size, here.destination)
            here.run()
            here.check_complete()


def copy_with_odd_blocks_through_small_cache_is_identical():
    with place() as here:
        here.fill(24 * MIB + 12345)
        done = here.run("--cache-size", "2M", "--block-size", "5001", "--stats")
        here.check_complete()
        assert number(figures(done.stdout), "segments_reclaimed") > 0, "the cache was never full"


def copy_with_direct_is_identical():
    with place() as here:
        here.fill(4 * MIB + 777)
        done = subprocess.run(here.command("--direct"), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              timeout=CEILING_S)
        if done.returncode == USAGE and b"--direct" in done.stderr:
            raise tap.Skip("no O_DIRECT on this file system")
        check_status(done.returncode, OK, ["pcache-cp", "--direct"], done.stderr.decode())
        here.check_complete()


def copy_with_default_cache_leaves_nothing():
    with place() as here:
        here.fill(MIB)
        run([COPIER, here.source, here.destination])
        here.check_identical()
        assert sorted(os.listdir(here.files)) == ["destination", "source"], os.listdir(here.files)


def copy_takes_permissions_of_source():
    with place() as here:
        here.fill(100)
        os.chmod(here.source, 0o640)
        here.run()
        assert os.stat(here.destination).st_mode & 0o777 == 0o640


# Standard input

def pipe_of_any_size_is_identical_and_cut():
    for size in (0, 1, 3 * MIB + 5):
        with place() as here:
            here.fill(size)
            here.fill(5 * MIB, here.destination)
            here.run("--size", "64M", source="-", input=content(here.source))
            here.check_complete()


def pipe_with_default_size_is_identical():
    with place() as here:
        here.fill(2 * MIB + 1)
        here.run(source="-", input=content(here.source))
        here.check_complete()


def pipe_longer_than_size_fails():
    with place() as here:
        here.fill(MIB + 1)
        done = here.run("--size", "1M", source="-", input=content(here.source), expect=FAILED)
        assert "--size" in done.stderr, done.stderr
        here.run("--size", "1M", "--restart", source="-", input=content(here.source)[:MIB])
        assert content(here.destination) == content(here.source)[:MIB]


def redirected_input_begins_at_its_offset():
    with place() as here:
        here.fill(3 * MIB)
        with open(here.source, "rb", buffering=0) as file:
            file.seek(12345)
            here.run(source="-", stdin=file)
        assert content(here.destination) == content(here.source)[12345:]


def pipe_with_no_drain_is_resumed_and_cut():
    with place() as here:
        here.fill(2 * MIB + 3)
        here.run("--no-drain", "--size", "32M", source="-", input=content(here.source))
        assert os.path.getsize(here.destination) == 32 * MIB
        here.run("--resume", source="-")
        here.check_complete()


# Stop and go on

def no_drain_then_resume_needs_no_source():
    with place() as here:
        here.fill(3 * MIB + 1)
        wanted = content(here.source)
        done = here.run("--no-drain")
        assert "--resume" in done.stderr, "not told how to go on"
        assert here.recorded()["phase"] == "copied"
        os.remove(here.source)
        here.run("--resume")
        assert content(here.destination) == wanted
        assert os.listdir(here.caches) == []


def kill_then_resume_goes_on_where_data_is_durable():
    size = 32 * MIB + 999
    for at_bytes in (1, 9 * MIB, 17 * MIB, 27 * MIB):
        with place() as here:
            here.fill(size)
            recorded = kill_half_way(here, at_bytes=at_bytes)
            assert 0 < recorded < size
            done = here.run("--resume", "--stats")
            assert number(figures(done.stdout), "resumed_bytes") == recorded
            assert number(figures(done.stdout), "copied_bytes") == size
            assert number(figures(done.stdout), "write_bytes") == size - recorded, "copied again from the beginning"
            here.check_complete()


def kill_of_resumed_copy_is_resumed_again():
    with place() as here:
        here.fill(32 * MIB)
        first = kill_half_way(here)
        second = kill_half_way(here, "--resume", at_bytes=first + MIB)
        assert second > first
        here.run("--resume")
        here.check_complete()


def kill_with_no_drain_then_resume_is_identical():
    with place() as here:
        here.fill(32 * MIB + 1)
        kill_half_way(here, "--no-drain", at_bytes=MIB)
        here.run("--resume", "--no-drain")
        assert here.recorded()["phase"] == "copied"
        here.run("--resume")
        here.check_complete()


def kill_before_first_byte_is_resumed():
    with place() as here:
        here.fill(32 * MIB)
        kill_half_way(here)
        here.change_record("copied_bytes", 0)
        os.remove(here.cache)
        here.run("--resume")
        here.check_complete()


def kill_after_drain_is_resumed():
    with place() as here:
        here.fill(2 * MIB)
        here.run("--no-drain")
        record = content(here.record)
        here.run("--resume")
        with open(here.record, "wb") as file:
            file.write(record)
        here.change_record("phase", "drained")  # as if killed between the removals of cache and record
        here.run("--resume")
        here.check_complete()


def interrupt_is_resumed():
    for number_of, expect in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)):
        with place() as here:
            here.fill(32 * MIB)
            with half_way(here) as process:
                process.send_signal(number_of)
                stderr = let_end(process, expect)
            assert "--resume" in stderr, stderr
            assert 0 < int(here.recorded()["copied_bytes"]) < 32 * MIB
            here.run("--resume")
            here.check_complete()


def interrupted_pipe_cannot_be_resumed():
    with place() as here:
        here.fill(MIB)
        command = here.command("--size", "16M", "--checkpoint", "64K", "--block-size", "64K", source="-")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdin.write(content(here.source))
            process.stdin.flush()
            wait_for(lambda: os.path.exists(here.record) and int(here.recorded()["copied_bytes"]) == MIB, "the copy")
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=CEILING_S) == INTERRUPTED
        here.run("--resume", source="-", input=content(here.source), expect=USAGE)
        here.run("--restart", source="-", input=content(here.source))
        here.check_complete()


def restart_copies_from_the_beginning():
    with place() as here:
        here.fill(32 * MIB)
        kill_half_way(here)
        here.fill(5 * MIB)  # also another size than before
        here.run("--restart")
        here.check_complete()


# What the copy refuses, and leaves alone

def unfinished_copy_refuses_a_new_one():
    with place() as here:
        here.fill(2 * MIB)
        here.run("--no-drain")
        before = content(here.cache), content(here.destination), content(here.record)
        here.run(expect=REFUSED)
        here.run(destination=here.destination + "2", expect=REFUSED)
        here.run("--restart", destination=here.destination + "2", expect=REFUSED)
        assert not os.path.exists(here.destination + "2")
        assert before == (content(here.cache), content(here.destination), content(here.record)), "files changed"
        here.run("--resume")
        here.check_complete()


def resume_to_another_destination_is_refused():
    with place() as here:
        here.fill(2 * MIB)
        here.run("--no-drain")
        other = here.destination + "2"
        here.fill(2 * MIB, other)
        before = content(other)
        here.run("--resume", destination=other, expect=REFUSED)
        assert content(other) == before
        here.run("--resume")
        here.check_complete()


def cache_of_another_destination_is_refused():
    with place() as here:
        here.fill(2 * MIB)
        here.run("--no-drain")
        other = here.destination + "2"
        here.fill(2 * MIB, other)
        before, cached = content(other), content(here.cache)
        with place() as donor:  # a record that names the other file as destination
            shutil.copy(here.source, donor.source)
            os.rename(other, donor.destination)
            donor.run("--no-drain")
            named = donor.recorded()["destination_id"]
            os.rename(donor.destination, other)
        with open(other, "wb") as file:
            file.write(before)
        here.change_record("destination_id", named)
        done = here.run("--resume", destination=other, expect=REFUSED)
        assert "another file" in done.stderr, done.stderr
        assert content(other) == before and content(here.cache) == cached, "a refused file was changed"


def flip_byte(path, off):
    with open(path, "r+b") as file:
        file.seek(off)
        byte = file.read(1)
        file.seek(off)
        file.write(bytes([byte[0] ^ 1]))


def resume_with_another_source_is_refused():
    with place() as here:
        here.fill(32 * MIB)
        kill_half_way(here)
        shutil.copy2(here.source, here.source + "2")
        here.run("--resume", source=here.source + "2", expect=REFUSED)
        here.run("--resume")
        here.check_complete()


def resume_with_changed_source_is_refused():
    with place() as here:
        here.fill(32 * MIB)
        recorded = kill_half_way(here)
        times = os.stat(here.source)
        flip_byte(here.source, recorded + MIB)
        done = here.run("--resume", expect=REFUSED)
        assert "changed" in done.stderr, done.stderr
        flip_byte(here.source, recorded - 1)
        os.utime(here.source, ns=(times.st_atime_ns, times.st_mtime_ns))  # now only its last copied block tells
        done = here.run("--resume", expect=REFUSED)
        assert "differs" in done.stderr, done.stderr


def resume_with_resized_destination_is_refused():
    with place() as here:
        here.fill(2 * MIB)
        here.run("--no-drain")
        os.truncate(here.destination, 3 * MIB)  # longer: what was written back already must stay
        done = here.run("--resume", expect=REFUSED)
        assert f"unfinished copy needs it with {2 * MIB}" in done.stderr, done.stderr
        os.truncate(here.destination, 2 * MIB)
        here.run("--resume")
        here.check_complete()


def resume_with_damaged_record_is_refused():
    with place() as here:
        here.fill(2 * MIB)
        here.run("--no-drain")
        record = content(here.record)
        damaged = [record[:cut] for cut in range(0, len(record), 7)]
        damaged += [record + b"x", record.replace(b"copied_bytes: 2", b"copied_bytes: 9"), b"\0" * 5000,
                    record.replace(b"volume_bytes: 2", b"volume_bytes: -2"), record.replace(b"copied\n", b"paused\n")]
        for text in damaged:
            assert text != record
            with open(here.record, "wb") as file:
                file.write(text)
            here.run("--resume", expect=REFUSED)
        with open(here.record, "wb") as file:
            file.write(record)
        here.run("--resume")
        here.check_complete()


def resume_without_unfinished_copy_is_wrong_usage():
    with place() as here:
        here.fill(MIB)
        here.run("--resume", expect=USAGE)
        assert not os.path.exists(here.destination)


def resume_without_cache_is_refused():
    with place() as here:
        here.fill(2 * MIB)
        here.run("--no-drain")
        os.remove(here.cache)
        done = here.run("--resume", expect=REFUSED)
        assert "--restart" in done.stderr, done.stderr
        assert not os.path.exists(here.cache), "an empty cache was made up"
        here.run("--restart")
        here.check_complete()


def resume_with_damaged_cache_is_refused():
    with place() as here:
        here.fill(2 * MIB)
        here.run("--no-drain")
        with open(here.cache, "r+b") as file:
            file.write(RANDOM.randbytes(64 << 10))  # the superblock in both places
        before = content(here.cache)
        here.run("--resume", expect=REFUSED)
        assert content(here.cache) == before, "a damaged cache was changed"


def cache_that_is_not_empty_is_refused():
    with place() as here:
        here.fill(MIB)
        here.fill(70000, here.cache)
        before = content(here.cache)
        here.run(expect=REFUSED)
        assert content(here.cache) == before
        assert sorted(os.listdir(here.files)) == ["source"], "an empty destination was left"
        assert os.listdir(here.caches) == ["cache"], "a record was left"
        here.fill(100, here.destination)
        kept = content(here.destination)
        here.run(expect=REFUSED)
        assert content(here.destination) == kept, "the destination was changed by a copy that was refused"


def cache_that_cannot_be_made_leaves_nothing():
    with place() as here:
        here.fill(MIB)
        # A file size limit, never a huge cache: where that is really allocated it takes the memory of the machine.
        here.run("--cache-size", "8M", expect=REFUSED,
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, 2 * MIB)))
        assert sorted(os.listdir(here.files)) == ["source"], os.listdir(here.files)
        assert os.listdir(here.caches) == [], os.listdir(here.caches)


def cache_that_is_in_use_is_refused():
    with place() as here:
        here.fill(32 * MIB)
        with half_way(here) as process:
            here.run("--resume", expect=REFUSED)
            here.run("--restart", expect=REFUSED)
            let_end(process, OK)
        here.check_complete()


def cache_that_was_there_stays():
    with place() as here:
        here.fill(MIB)
        with open(here.cache, "wb") as file:
            file.truncate(4 * MIB)
        here.run()
        here.check_identical()
        assert os.listdir(here.caches) == ["cache"]
        assert os.path.getsize(here.cache) == 4 * MIB


def cache_stays_with_keep_cache():
    with place() as here:
        here.fill(MIB)
        here.run("--keep-cache")
        here.check_identical()
        assert os.listdir(here.caches) == ["cache"]


# Trouble on the way

def source_that_shrinks_fails():
    with place() as here:
        here.fill(32 * MIB)
        with half_way(here) as process:
            os.truncate(here.source, 1000)
            stderr = let_end(process, FAILED)
        assert "shorter" in stderr, stderr
        here.run("--restart")
        here.check_complete()


def source_that_changes_fails():
    with place() as here:
        here.fill(32 * MIB)
        with half_way(here) as process:
            with open(here.source, "r+b") as file:
                file.write(b"changed")
            stderr = let_end(process, FAILED)
        assert "changed" in stderr, stderr


def full_destination_fails_and_is_resumed_with_room():
    with place() as here:
        mount = os.path.join(here.files, "mount")
        os.mkdir(mount)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount], stderr=subprocess.DEVNULL).returncode:
            raise tap.Skip("may not mount a small file system")
        try:
            here.fill(6 * MIB)
            destination = os.path.join(mount, "destination")
            done = here.run(destination=destination, expect=FAILED)
            assert "--resume" in done.stderr, done.stderr
            subprocess.run(["mount", "-o", "remount,size=32m", mount], check=True)
            here.run("--resume", destination=destination)
            assert content(destination) == content(here.source)
            assert os.listdir(here.caches) == []
        finally:
            subprocess.run(["umount", mount], check=True)


def file_size_limit_fails_with_a_message():
    with place() as here:
        here.fill(8 * MIB)
        done = here.run(expect=FAILED, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB)))
        assert here.destination in done.stderr, done.stderr
        assert not os.path.exists(here.destination), "a useless destination was left"
        assert os.listdir(here.caches) == []


def files_that_cannot_be_copied_are_refused():
    with place() as here:
        here.fill(MIB)
        before = content(here.source)
        os.link(here.source, here.source + ".hard")
        os.symlink(here.source, here.source + ".soft")
        for same in (here.source, here.source + ".hard", here.source + ".soft"):
            here.run(destination=same, expect=USAGE)
        with open(here.source, "rb") as file:
            here.run(source="-", destination=here.source, stdin=file, expect=USAGE)
        here.run(source=here.files, expect=USAGE)
        here.run(destination=here.files, expect=USAGE)
        here.run(destination="/dev/null", expect=USAGE)
        here.run(source=here.source + ".none", expect=FAILED)
        here.run(destination=os.path.join(here.files, "none", "file"), expect=FAILED)
        run([COPIER, "", here.destination], USAGE)
        run([COPIER, "--cache", here.source, here.source, here.destination], USAGE)
        shutil.copy(here.source, here.record + ".new")
        here.run(source=here.record + ".new", expect=USAGE)
        assert content(here.source) == before and content(here.record + ".new") == before
        assert not os.path.exists(here.destination)


def wrong_usage_is_told():
    with place() as here:
        here.fill(MIB)
        for arguments in ([], [here.source], [here.source, here.destination, "third"], ["--what"],
                          ["--resume", "--restart", here.source, here.destination]):
            run([COPIER, *arguments], USAGE)
        for size in ("", "0", "x", "1X", "-1", " 1M", "+1M", "1MM", "99999999999999999999", "18014398509490176K",
                     "1023K"):
            here.run("--cache-size", size, expect=USAGE)
        for size in ("1", "4095", "1025M"):
            here.run("--block-size", size, expect=USAGE)
        assert sorted(os.listdir(here.files)) == ["source"]


def sizes_with_suffix_are_taken():
    with place() as here:
        here.fill(MIB)
        for size in ("1m", "1M", "1024K", "1048576"):
            done = here.run("--cache-size", size, "--stats", "--restart")
            here.check_complete()
            assert number(figures(done.stdout), "cache_bytes") <= MIB, done.stdout


def help_and_version_succeed():
    helped = run([COPIER, "--help"])
    assert "--resume" in helped.stdout and "Exit status" in helped.stdout
    assert run([COPIER, "--version"]).stdout.startswith("pcache-cp ")


# What it prints

def stats_say_what_was_done():
    with place() as here:
        here.fill(8 * MIB)
        stats = figures(here.run("--stats").stdout)
        assert number(stats, "copied_bytes") == 8 * MIB
        assert number(stats, "resumed_bytes") == 0
        assert number(stats, "write_bytes") == 8 * MIB
        assert number(stats, "backing_write_bytes") >= 8 * MIB
        assert number(stats, "backing_syncs") >= 1
        assert number(stats, "dirty_log_bytes") == 0
        assert 0 < number(stats, "durable_seconds") <= number(stats, "drained_seconds")
        forced = os.environ.get("PMEM2_FORCE_GRANULARITY")
        assert not forced or stats["granularity"] == forced.lower(), stats["granularity"]


def stats_of_no_drain_name_no_drain():
    with place() as here:
        here.fill(MIB)
        stats = figures(here.run("--stats", "--no-drain").stdout)
        assert "durable_seconds" in stats and "drained_seconds" not in stats


def quiet_without_terminal():
    with place() as here:
        here.fill(MIB)
        done = here.run()
        assert done.stdout == "" and done.stderr == "", (done.stdout, done.stderr)
        assert "100%" in here.run("--progress").stderr


def bar_on_terminal():
    with place() as here:
        here.fill(MIB)
        try:
            ours, theirs = pty.openpty()
        except OSError as error:
            raise tap.Skip("no terminals here") from error
        with subprocess.Popen(here.command(), stdin=subprocess.DEVNULL, stderr=theirs) as process:
            os.close(theirs)
            shown = b""
            with contextlib.suppress(OSError):  # the end of a terminal is an error
                while data := os.read(ours, 4096):
                    shown += data
            assert process.wait(timeout=CEILING_S) == OK
        os.close(ours)
        assert b"100%" in shown and b"ETA" in shown, shown


# the other examples

def hello_runs_twice():
    with place() as here:
        for _ in range(2):
            done = run([HELLO, here.cache, here.destination])
            assert done.stdout.count("\n") == 1 and "hello, cache" in done.stdout, done.stdout
        assert b"hello, cache\0" in content(here.destination)


def hello_with_bad_files_fails():
    with place() as here:
        run([HELLO], USAGE)
        run([HELLO, here.cache, here.files], FAILED)
        run([HELLO, here.cache, here.destination])
        here.fill(MIB, here.source)
        before = content(here.source)
        run([HELLO, here.cache, here.source], FAILED)
        assert content(here.source) == before


def async_writes_and_reads_every_block():
    with place() as here:
        with open(here.destination, "wb") as backing:
            backing.truncate(16 * MIB)
        done = run([ASYNC, here.cache, here.destination])
        assert done.stdout == "4096 blocks written and read\n", done.stdout
        blocks = content(here.destination)
        assert all(blocks[i * 4096:i * 4096 + 8] == i.to_bytes(8, "little") for i in range(4096))


def async_with_bad_files_fails():
    with place() as here:
        run([ASYNC], USAGE)
        run([ASYNC, here.cache, here.destination], FAILED)


CHECKS = [
    copy_of_any_size_is_identical,
    copy_of_empty_file_is_empty,
    copy_onto_existing_file_takes_its_place,
    copy_with_odd_blocks_through_small_cache_is_identical,
    copy_with_direct_is_identical,
    copy_with_default_cache_leaves_nothing,
    copy_takes_permissions_of_source,
    pipe_of_any_size_is_identical_and_cut,
    pipe_with_default_size_is_identical,
    pipe_longer_than_size_fails,
    redirected_input_begins_at_its_offset,
    pipe_with_no_drain_is_resumed_and_cut,
    no_drain_then_resume_needs_no_source,
    kill_then_resume_goes_on_where_data_is_durable,
    kill_of_resumed_copy_is_resumed_again,
    kill_with_no_drain_then_resume_is_identical,
    kill_before_first_byte_is_resumed,
    kill_after_drain_is_resumed,
    interrupt_is_resumed,
    interrupted_pipe_cannot_be_resumed,
    restart_copies_from_the_beginning,
    unfinished_copy_refuses_a_new_one,
    resume_to_another_destination_is_refused,
    cache_of_another_destination_is_refused,
    resume_with_another_source_is_refused,
    resume_with_changed_source_is_refused,
    resume_with_resized_destination_is_refused,
    resume_with_damaged_record_is_refused,
    resume_without_unfinished_copy_is_wrong_usage,
    resume_without_cache_is_refused,
    resume_with_damaged_cache_is_refused,
    cache_that_is_not_empty_is_refused,
    cache_that_cannot_be_made_leaves_nothing,
    cache_that_is_in_use_is_refused,
    cache_that_was_there_stays,
    cache_stays_with_keep_cache,
    source_that_shrinks_fails,
    source_that_changes_fails,
    full_destination_fails_and_is_resumed_with_room,
    file_size_limit_fails_with_a_message,
    files_that_cannot_be_copied_are_refused,
    wrong_usage_is_told,
    sizes_with_suffix_are_taken,
    help_and_version_succeed,
    stats_say_what_was_done,
    stats_of_no_drain_name_no_drain,
    quiet_without_terminal,
    bar_on_terminal,
    hello_runs_twice,
    hello_with_bad_files_fails,
    async_writes_and_reads_every_block,
    async_with_bad_files_fails,
]

print(f"# seed {SEED}; again with PC_TEST_SEED={SEED}")
tap.run([(check.__name__, check) for check in CHECKS])
