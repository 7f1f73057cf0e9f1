from competition import recipe, run
from competition.publish.in_kernel import deliver, settings, working

# 'overrides' are KEY=VALUE of the recipe, as in 'dogbreed run --set'. The photos and the weights are the attached ones.
chosen = settings(recipe="probe", overrides=[])
deliver(run(config=recipe(chosen["recipe"], *chosen["overrides"]), run_dir=working() / "run"))
