from competition import recipe, run
from competition.pipeline import summary
from competition.publish.in_kernel import deliver, settings, working

# Any fine-tuning recipe whose backbone is attached; 'overrides' are KEY=VALUE as in 'dogbreed run --set', 'folds' is a
# list of numbers (None: all of them; fewer leave no submission).
chosen = settings(recipe="effnetv2_b0_224", overrides=[], folds=None)
configuration = recipe(chosen["recipe"], *chosen["overrides"])
result = run(config=configuration, run_dir=working() / "run", folds=chosen["folds"])
print(summary(result))
deliver(result.submission)
