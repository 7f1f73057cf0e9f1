from competition import recipe, run
from competition.publish.in_kernel import deliver, settings, working

# Any fine-tuning recipe whose backbone is attached. A run that was cut short goes on when its folder is given again.
chosen = settings(recipe="effnetv2_b0_224", overrides=[], folds=None)
configuration = recipe(chosen["recipe"], *chosen["overrides"])
deliver(run(config=configuration, run_dir=working() / "run", folds=chosen["folds"]))
