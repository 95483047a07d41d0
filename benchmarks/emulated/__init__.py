"""The same trainings on emulated processors, and where they part."""
