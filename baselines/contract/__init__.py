"""What every framework trains by: configuration, schedules, batches, augmentation, outcome."""
