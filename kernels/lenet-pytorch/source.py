from baselines import create_model, fit, load_dataset
from competition.publish.in_kernel import leave_metrics, settings, working

# An attached data set is taken first; what is not attached is downloaded with its checksum.
chosen = settings(dataset="mnist", image_size=None, epochs=20, batch_size=128, seed=42)
data = load_dataset(chosen.pop("dataset"), image_size=chosen.pop("image_size"), seed=chosen["seed"])
model = create_model(
    "lenet5_relu",
    framework="pytorch",
    num_classes=data.num_classes,
    in_channels=data.in_channels,
    image_size=data.image_size,
)
result = fit(model, data, run_dir=working() / "run", optimiser="nesterov", schedule="cosine", **chosen)
leave_metrics(result.metrics)
