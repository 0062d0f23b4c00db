"""Records: from files and hubs to chosen examples. Plugins read them by `dcm.reading`."""
