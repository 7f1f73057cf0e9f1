from competition import recipe, run
from competition.pipeline import summary
from competition.publish.in_kernel import deliver, settings, working

# 'overrides' are KEY=VALUE of the recipe, as in 'dogbreed run --set'. The photos and the weights are the attached ones.
chosen = settings(recipe="probe", overrides=[])
result = run(config=recipe(chosen["recipe"], *chosen["overrides"]), run_dir=working() / "run")
print(summary(result))
deliver(result.submission)
