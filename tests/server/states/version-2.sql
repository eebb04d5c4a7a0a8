BEGIN TRANSACTION;
CREATE TABLE events (
    job INTEGER NOT NULL REFERENCES jobs (position) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    type TEXT NOT NULL,
    time REAL NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
INSERT INTO "events" VALUES(1,1,'state',1.79582414426783943178e+09,'{"state": "queued", "attempt": 0, "place": 1, "wait": 0.0}');
INSERT INTO "events" VALUES(1,2,'state',1.79582414427512097356e+09,'{"state": "running", "attempt": 1}');
INSERT INTO "events" VALUES(1,3,'progress',1.79582414428266167643e+09,'{"stage": "views", "step": 1, "total": 3, "seconds_left": 0.5, "preview": null}');
INSERT INTO "events" VALUES(1,4,'state',1.7958241442830576896e+09,'{"state": "done", "attempt": 1}');
INSERT INTO "events" VALUES(2,1,'state',1.79582414429514503474e+09,'{"state": "queued", "attempt": 0, "place": 1, "wait": 0.0}');
INSERT INTO "events" VALUES(2,2,'queue',1.79582414432329154014e+09,'{"place": 2, "wait": null}');
INSERT INTO "events" VALUES(3,1,'state',1.79582414429907250407e+09,'{"state": "queued", "attempt": 0, "place": 1, "wait": 0.0}');
INSERT INTO "events" VALUES(4,1,'state',1.79582414431110930445e+09,'{"state": "queued", "attempt": 0, "place": 3, "wait": null}');
INSERT INTO "events" VALUES(4,2,'state',1.79582414432300329211e+09,'{"state": "cancelled", "attempt": 0}');
CREATE TABLE jobs (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    key TEXT UNIQUE,
    request TEXT NOT NULL,
    request_sha256 TEXT NOT NULL,
    task TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    cancel_asked INTEGER NOT NULL DEFAULT 0,
    last_event INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    result TEXT,
    error TEXT
, owner TEXT, priority INTEGER NOT NULL DEFAULT 0, turn INTEGER NOT NULL DEFAULT 0, recipe TEXT) STRICT;
INSERT INTO "jobs" VALUES(1,'11111111111111111111111111111111','first','{"inputs": {}, "parameters": {"seed": 1, "steps": 3}, "task": "walk"}','214ae91f1ae5eb4e282fe2bffeceacdd7dd61f793f8c0b1b605648ad8fdbbf98','walk','done',1,0,4,1.79582414426743674279e+09,1.79582414427501559257e+09,1.795824144282841444e+09,'{"walk.bin": {"sha256": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "size": 288}}',NULL,'blender',0,1,'r1');
INSERT INTO "jobs" VALUES(2,'22222222222222222222222222222222',NULL,'{"inputs": {}, "parameters": {"seed": 2, "steps": 4}, "task": "walk"}','4f931e140171ace1a27f49d502addc71ba9b9e513aaf411c66cd5fdf88401769','walk','queued',0,0,2,1.79582414429496097559e+09,NULL,NULL,NULL,NULL,'cli',0,2,NULL);
INSERT INTO "jobs" VALUES(3,'33333333333333333333333333333333','waits','{"inputs": {}, "parameters": {"steps": 2}, "task": "count"}','228c794c43257520d759f82ac283e145a76311d1c0a472b27f21206d2d90dc8c','count','queued',0,0,1,1.7958241442989072799e+09,NULL,NULL,NULL,NULL,'cli',5,3,NULL);
INSERT INTO "jobs" VALUES(4,'44444444444444444444444444444444',NULL,'{"inputs": {}, "parameters": {"steps": 9}, "task": "count"}','2fca1d574f654f93fa540bb15c118e769862ec30b0fdf466729bf2147258c734','count','cancelled',0,1,2,1.79582414431093502051e+09,NULL,1.79582414432291269301e+09,NULL,NULL,NULL,0,4,NULL);
CREATE TABLE uses (
    sha256 TEXT NOT NULL,
    job INTEGER NOT NULL REFERENCES jobs (position) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    PRIMARY KEY (job, kind, sha256)
) STRICT, WITHOUT ROWID;
INSERT INTO "uses" VALUES('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',1,'result');
CREATE INDEX jobs_by_turn ON jobs (state, priority DESC, turn);
CREATE INDEX jobs_by_recipe ON jobs (recipe, state);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('jobs',4);
COMMIT;
PRAGMA user_version = 2;
