// SPDX-License-Identifier: GPL-3.0-or-later
// A job type of Flamenco: copy it into the manager's folder "scripts", and choose it when submitting.
const JOB_TYPE = {
  label: "SyncSDE Batch",
  description: "Make the assets of a manifest, a part in each task",
  settings: [
    { key: "manifest", type: "string", subtype: "file_path", required: true, description: "JSON Lines or CSV, one asset a line" },
    { key: "output", type: "string", subtype: "dir_path", required: true, description: "Folder that all workers see" },
    { key: "parts", type: "int32", default: 8, propargs: { min: 1, max: 10000 }, description: "Tasks that the assets are divided into" },
    { key: "program", type: "string", default: "syncsde", visible: "submission", description: "Where the program is on the workers" },
  ],
};

function compileJob(job) {
  const settings = job.settings;
  const common = ["batch", settings.manifest, "--output", settings.output];
  const report = task("report", settings.program, [...common, "--report"]);
  for (let part = 1; part <= settings.parts; part++) {
    const made = task(`part-${part}`, settings.program, [...common, "--chunk", `${part}/${settings.parts}`, "--retry-failed"]);
    job.addTask(made);
    report.addDependency(made);
  }
  job.addTask(report);
}

function task(name, program, args) {
  const made = author.Task(name, "misc");
  made.addCommand(author.Command("exec", { exe: program, args: args }));
  return made;
}
