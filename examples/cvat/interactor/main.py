"""What nuclio calls: CVAT's requests in, masklet's answers out."""

from typing import Any

from masklet.integrations.cvat_nuclio import Interactor, respond


def init_context(context: Any) -> None:
    """Load the model once, when the function starts."""
    context.user_data.function = Interactor.from_environment()


def handler(context: Any, event: Any) -> Any:
    """Answer one request."""
    return respond(context.user_data.function, context, event)
