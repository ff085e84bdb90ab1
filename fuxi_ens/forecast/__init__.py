"""From a trained model and init times to an ensemble store."""
