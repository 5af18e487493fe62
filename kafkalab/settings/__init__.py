"""Every tunable setting of a consumer, once, in everyone's names."""

from kafkalab.settings.consumer import ConsumerSettings

__all__ = ["ConsumerSettings"]
