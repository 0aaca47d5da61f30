import tempfile, pathlib, shutil, os
from tests.torture import test_database_killed as T
from tests.torture.test_database_killed import *
from tests.torture.kills import tracing
d=pathlib.Path(tempfile.mkdtemp(dir="/dev/shm"))
root=d/"w"
built = Database(root)
built.task(created_at="2026-01-01T00:00:00", updated_at="2026-01-01T00:00:00")
writers = Writers(built.path)
for agent_id in ("live", "gone"):
    writers.deploy(agent_id)
    writers.report(agent_id, "working", 30, "at work")
writers.report("live", "working", 40, "at work")
t=T._task(root)
names=[]
orig=tracing._step
def step(pid,dies):
    def d2(n):
        try: names.append(open(f"/proc/{pid}/syscall").read().split()[0:4])
        except OSError as e: names.append(str(e))
        return dies(n)
    return orig(pid,d2)
tracing._step=step
e=run_to_call(lambda: T._complete(t),None); print(e)
import collections
print(len(names)); print(names[-60:])
print(progress_lines(built,"gone"), [x.state for x in read_log(t.audit_log).entries])
