import time, sqlite3, statistics, pathlib, tempfile
from tests.support.databases import Database
from contextlib import closing
d=pathlib.Path(tempfile.mkdtemp(dir="/dev/shm"))/"ws"
b=Database(d)
with closing(sqlite3.connect(b.path)) as c, c:
    c.executemany("INSERT INTO tasks (task_id,status) values(?,'ACTIVE')",[(f"TASK-{t:03}",) for t in range(100)])
    c.executemany("INSERT INTO agents (agent_id,task_id,type,tmux_session,parent,depth,phase_index,started_at,status,progress,last_update,prompt_preview) VALUES (?,?,?,?,?,1,0,?,?,40,?,?)",[(f"bench-{t:03}-{n:04}",f"TASK-{t:03}","tester",f"agent_bench-{t:03}-{n:04}","orchestrator","2026-11-30T19:33:57.412036","completed","2026-11-30T19:33:57.412036","Find out why it is slow, and mend it. "*5) for t in range(100) for n in range(100)])
cols="agent_id task_id status tmux_session started_at type model parent depth phase_index cursor_pid completed_at progress last_update review_id".split()
def best(f,n=9):
    ts=[]
    for _ in range(n):
        a=time.thread_time(); w=time.perf_counter(); r=f(); ts.append((time.thread_time()-a,time.perf_counter()-w))
    print(f.__name__, "cpu %.1f wall %.1f ms"%(1000*min(t[0] for t in ts),1000*min(t[1] for t in ts))); return r
c=sqlite3.connect(b.path)
q=f"select {','.join(cols)} from agents"
def pyfactory():
    c.text_factory=lambda x:x.decode("utf-8","surrogateescape"); return c.execute(q).fetchall()
def strfactory():
    c.text_factory=str; return c.execute(q).fetchall()
def bytesfactory():
    c.text_factory=bytes; return c.execute(q).fetchall()
def optbytes():
    c.text_factory=bytes; return c.execute("select "+"||','||".join(f"quote({x})" for x in cols)+" from agents").fetchall()
def grouped():
    c.text_factory=bytes; return c.execute("select task_id, group_concat("+"||','||".join(f"quote({x})" for x in cols)+") from agents group by task_id").fetchall()
def grouped2():
    c.text_factory=bytes; return c.execute("select group_concat("+"||','||".join(f"ifnull({x},'-')" for x in cols)+") from agents").fetchall()
def nothing():
    return c.execute("select sum(progress) from agents").fetchall()
def concatws():
    c.text_factory=bytes; return c.execute("select count(*) from agents where "+"||".join(f"ifnull({x},'-')" for x in cols)+" = 'x'").fetchall()
for f in (pyfactory,strfactory,bytesfactory,optbytes,grouped,grouped2,nothing,concatws): r=best(f)
c.execute("create index i on agents(task_id)")
best(grouped)
x=bytesfactory(); y=bytesfactory()
def compare(): return x==y
def setdiff(): return set(y).difference(x)
best(compare); best(setdiff)
def zipdict():
    return [dict(zip(cols,r)) for r in x]
best(zipdict)
print(sqlite3.sqlite_version)
