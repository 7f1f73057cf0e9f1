from baselines import create_model, fit, load_dataset
from competition.publish.in_kernel import leave_metrics, settings, working

# An attached data set is taken first; what is not attached is downloaded with its checksum.
chosen = settings(
    dataset="cifar10", image_size=None, epochs=60, batch_size=128, augment=["crop", "flip"], weight_decay=5e-4, seed=42
)
data = load_dataset(chosen.pop("dataset"), image_size=chosen.pop("image_size"), seed=chosen["seed"])
model = create_model(
    "resnet8",
    framework="keras",
    num_classes=data.num_classes,
    in_channels=data.in_channels,
    image_size=data.image_size,
)
result = fit(model, data, run_dir=working() / "run", optimiser="nesterov", schedule="cosine", **chosen)
leave_metrics(result.metrics)
