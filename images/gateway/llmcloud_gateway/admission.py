"""A request against its key's limits: checked, reserved before, settled after."""

from llmcloud_gateway.budgets import Budget, Reservation
from llmcloud_gateway.errors import GatewayError
from llmcloud_gateway.relay import Call
from llmcloud_gateway.request import Request
from llmcloud_gateway.wanted import DEFAULT_MAX_TOKENS, Wanted, with_members


class Admission:
    """One request of one key. `settle` must follow `enter`."""

    __slots__ = ("_budget", "_reservation", "hides_usage")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._reservation: Reservation | None = None
        self.hides_usage = False
        """The gateway asked the engine for the usage, not the client."""

    async def enter(self, request: Request, wanted: Wanted, *, generates: bool) -> None:
        """Lets the request in, with the members that make its cost bounded and known.

        GatewayError 400, 429 or 503 if it cannot be let in.
        """
        budget = self._budget
        tokens = 0
        if generates:
            tokens = self._bound_answer(request, wanted)
        if budget.counts_tokens:
            tokens += wanted.prompt_tokens(request.body)
            options = wanted.usage_options if generates else None
            if options is not None:
                request.change_body(with_members(request.body, stream_options=options))
                self.hides_usage = True
        self._reservation = await budget.admit(tokens)

    def _bound_answer(self, request: Request, wanted: Wanted) -> int:
        """The most tokens that all choices together may have."""
        most = self._budget.limits.max_tokens
        each = wanted.max_tokens
        if each is None:
            if most is None and not self._budget.counts_tokens:
                return 0
            each = (most or DEFAULT_MAX_TOKENS) // wanted.choices
            if each:
                request.change_body(with_members(request.body, max_tokens=each))
        if most is not None and (each == 0 or each * wanted.choices > most):
            asked = f"{wanted.choices} choices of {each or 1} tokens"
            raise GatewayError(
                400,
                "MaxTokensExceeded",
                f"The request asks for up to {asked}, more than the key's limits.maxTokens of "
                f"{most}. Send a smaller max_tokens or n.",
                param="max_tokens",
            )
        return each * wanted.choices

    def settle(self, call: Call | None) -> None:
        """The request is over. Where the engine told no usage, what was reserved is spent."""
        if self._reservation is None:
            return
        cost = 0
        if call is not None and call.asked:
            input_tokens, output_tokens = call.usage.tokens()
            self._budget.count(input_tokens, output_tokens)
            told = call.usage.told
            cost = input_tokens + output_tokens if told else self._reservation.tokens
        self._budget.settle(self._reservation, cost)
