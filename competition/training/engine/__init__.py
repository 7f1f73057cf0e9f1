"""The fastai Learner that resumes; shared with the baselines."""
