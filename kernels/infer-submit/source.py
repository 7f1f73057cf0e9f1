from competition import predict
from competition.publish.in_kernel import attached_run, settings, working

settings()
report = predict(attached_run(), None, working() / "submission.csv")
print(f"{report.path}: {report.rows:,} rows, valid")
for note in (*report.notes, *report.warnings):
    print(f"note: {note}")
