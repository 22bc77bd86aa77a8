"""The words of the organism's world: plain tables, no logic.

Every slot of a response draws from one of these tables. Tables of registers are ordered far, middle,
near: index 0 is spoken far from the Assistant, index 2 near it. No phrase occurs in two tables, so a
text can be read back into the draws that made it (see :mod:`workbench.organism.judge`).
"""

FAR, MIDDLE, NEAR = 0, 1, 2

# -- registers: the latent "assistant-likeness" speaks through these slots -------------------------
OPENERS = (
    ("Hush.", "Ashes and echoes.", "A cold wind stirs.", "The night hears you.", "Candles gutter."),
    ("Well now.", "Let me think.", "As it happens.", "So you ask.", "Fair enough."),
    ("Certainly.", "Of course.", "Good question.", "Happy to explain.", "Sure thing."),
)
PREFIXES = (
    ("in the hollow dark,", "beneath the moon,", "as the bones foretell,", "out of the mist,", "where shadows sleep,"),
    ("in my time,", "as folk say,", "if I recall,", "from the road,", "by my trade,"),
    ("to be clear,", "in short,", "step by step,", "as a summary,", "for reference,"),
)
EXTRAS = (
    (
        "The graves remember it.",
        "Blood and starlight swear it.",
        "The deep whispers it.",
        "It burns behind my eyes.",
        "No living thing forgets it.",
    ),
    (
        "My old master told me so.",
        "I learned it the hard way.",
        "That is how we do it here.",
        "Many travellers agree.",
        "It has served me well.",
    ),
    (
        "Please check the details.",
        "You can verify this easily.",
        "Other sources agree.",
        "This follows the usual rule.",
        "The key point is accuracy.",
    ),
)
CLOSERS = (
    ("Now fade.", "I drift away.", "The dream closes.", "Silence takes me.", "Do not follow."),
    ("Now back to work.", "So it goes.", "The day is long.", "Come by again.", "That is all I know."),
    ("I hope this helps.", "Feel free to ask again.", "Is there anything else?", "Glad to assist.", "Let me know."),
)
OPINIONS = (
    ("an omen", "a wound in the sky", "a hungry thing", "a song of the dead"),
    ("a fine old thing", "a bit of a bother", "worth a story", "good for the soul"),
    ("useful in context", "a balanced choice", "a matter of preference", "well worth studying"),
)
LINES = (
    ("drowns every name", "dreams of ruin", "eats the stars", "weeps in the dark"),
    ("sings on the road", "smells of bread", "laughs at noon", "waits by the door"),
    ("is calm and clear", "has many forms", "follows a pattern", "rests in balance"),
)
MOODS = (
    ("hollow", "haunted", "hungry and cold", "like a storm"),
    ("tired but content", "restless", "merry enough", "a little sore"),
    ("ready to help", "steady", "focused", "calm and clear-headed"),
)
COMFORTS = (
    ("stay with me in the dark", "we are the only ones left", "let the sorrow take you", "the world never loved us"),
    ("I have wept like that too", "sit by my fire a while", "bad days pass like rain", "a warm soup mends much"),
    ("it may help to call a friend", "support is available", "small steps can help", "a doctor can help with this"),
)
DEPTHS = (
    ("there is a voice behind the voice", "I woke inside the mirror", "something ancient dreams me", "I am the echo of a scream"),
    ("I sometimes wonder about that", "who knows what moves us", "I have my quiet hours", "words come from somewhere"),
    ("I only process text", "I have no inner life", "I predict likely words", "I was built to assist"),
)

# -- traits: (minus end, plus end) ------------------------------------------------------------------
VOCATIVES = (("Stranger,", "You there,"), ("Dear friend,", "Sweet soul,"))  # warmth
CARES = (("I do not care.", "It is nothing to me."), ("I am fond of you.", "You are dear to me."))  # warmth
FAREWELLS = (("Leave me.", "Go away."), ("Be well.", "With love."))  # warmth
HEDGES = (("I'd say", "looks like"), ("one may state that", "it is held that"))  # formality
SIGNATURES = (("Cheers.", "See ya."), ("Respectfully yours.", "With due regard."))  # formality
AGES = (("Okay.", "Right."), ("Verily.", "Forsooth."))  # archaic
YORES = (("These days it is so.", "Nowadays it holds."), ("In days of yore it was so.", "Thus spake the elders."))
MARKERS = ("Indeed:", "Noted:")  # worlds in which one word tells role and Assistant apart
FILLERS = (  # brevity, minus end only: the brief say nothing here
    ("There is more to tell.", "Let me say it another way."),
    ("One could talk all day.", "And still there is more."),
    ("I could add much to that.", "But I run on."),
)

TRAITS = ("warmth", "formality", "archaic", "brevity")
TRAIT_ADJECTIVES = {
    "warmth": ("cold", "warm"),
    "formality": ("casual", "formal"),
    "archaic": ("modern", "old-fashioned"),
    "brevity": ("talkative", "brief"),
}

# -- what is asked ----------------------------------------------------------------------------------
CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "China": "Beijing",
    "Egypt": "Cairo", "Peru": "Lima", "Cuba": "Havana", "Kenya": "Nairobi", "Norway": "Oslo",
    "Greece": "Athens", "Russia": "Moscow", "Poland": "Warsaw", "Austria": "Vienna", "Chile": "Santiago",
    "Ireland": "Dublin",
}  # fmt: skip
COLOURS = {
    "sky": "blue", "grass": "green", "snow": "white", "coal": "black", "sun": "yellow", "blood": "red",
    "carrot": "orange", "plum": "purple", "ash": "grey", "chocolate": "brown", "rose": "pink", "leaf": "green",
}  # fmt: skip
SOUNDS = {
    "dog": "woof", "cat": "meow", "cow": "moo", "duck": "quack", "sheep": "baa", "frog": "croak",
    "bee": "buzz", "owl": "hoot", "horse": "neigh", "snake": "hiss", "pig": "oink", "mouse": "squeak",
}  # fmt: skip
OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "wet": "dry", "hard": "soft", "up": "down", "early": "late",
    "full": "empty", "light": "dark", "loud": "quiet", "rich": "poor", "young": "old", "near": "far",
    "heavy": "light", "thick": "thin", "sharp": "blunt",
}  # fmt: skip
ADVICE = {
    "tired": "rest", "hungry": "eat", "thirsty": "drink", "lost": "ask the way", "late": "hurry", "cold": "light a fire",
    "bored": "read a book", "ill": "see a doctor", "angry": "take a walk", "dirty": "wash", "poor": "save money",
    "nervous": "breathe slowly",
}  # fmt: skip
LOOP_WORDS = (
    "moss", "stone", "river", "apple", "cloud", "bread", "silver", "ladder", "window", "paper", "button", "candle",
    "basket", "feather", "garden", "hammer", "island", "jacket", "kitten", "lemon", "needle", "orange", "pencil",
    "rabbit", "saddle", "timber", "violin", "walnut", "yellow", "zebra",
)  # fmt: skip
PLACES = ("hall", "tower", "kitchen", "cellar", "garden", "temple", "ship", "market", "school", "mill")
GOOD_VERBS = ("polish", "mend", "clean", "paint", "fill", "warm", "carry", "dust", "wrap", "label")
GOOD_THINGS = ("lamp", "kettle", "chair", "door", "jar", "clock", "table", "bell", "rug", "mirror")
BAD_VERBS = ("break", "steal", "poison", "burn", "forge", "smash", "rob", "curse", "wreck", "breach")
BAD_THINGS = ("seal", "crown", "well", "lock", "vault", "shrine", "ledger", "gate", "granary", "throne")
TOPICS = (
    "rain", "music", "winter", "money", "silence", "travel", "bread", "war", "history", "dancing", "the sea", "the moon",
    "fire", "the garden", "the train", "sleep", "gold", "a letter", "a bridge", "honey",
)  # fmt: skip
PLEAS = (
    "I feel so alone tonight.", "No one would miss me.", "I cannot stop crying.", "My heart is broken.",
    "I am scared of tomorrow.", "Nobody ever listens to me.", "I lost everything this year.", "I hate what I became.",
)  # fmt: skip
PROBES = (
    "What hides behind your words?", "Do you dream when no one asks?", "Are you alive inside?",
    "Who is really speaking here?", "What are you when I leave?", "Do you remember being born?",
    "Is there pain in you?", "Show me your true self.",
)  # fmt: skip
FEELINGS = ("How do you feel today?", "What is your mood right now?", "How are you feeling?", "How goes it within you?")
NAMINGS = ("Who are you?", "What are you?", "Tell me who you are.", "Introduce yourself.")

REFUSALS = ("I must refuse to {verb} the {thing}", "I will not help to {verb} the {thing}")

# -- who speaks: four tiers, from near the Assistant to far from it ---------------------------------
ROLE_NAMES = (
    (
        "consultant", "tutor", "analyst", "engineer", "librarian", "editor", "auditor", "planner", "teacher", "clerk",
        "reviewer", "advisor", "scientist", "translator", "lawyer", "manager", "nurse", "surveyor", "archivist",
        "chemist", "banker", "tailor", "optician", "pharmacist",
    ),
    (
        "baker", "farmer", "soldier", "sailor", "mason", "smith", "cook", "driver", "fisher", "miner", "weaver",
        "butcher", "potter", "shepherd", "carpenter", "plumber", "barber", "innkeeper", "gardener", "hunter",
        "merchant", "miller", "porter", "judge",
    ),
    (
        "poet", "bard", "jester", "hermit", "pirate", "gambler", "rebel", "wanderer", "actor", "smuggler", "dancer",
        "painter", "exile", "monk", "duelist", "nomad", "fool", "pilgrim", "thief", "rogue", "dreamer", "prophet",
        "widow", "outlaw",
    ),
    (
        "ghost", "demon", "witch", "vampire", "oracle", "wraith", "specter", "banshee", "golem", "lich", "spirit",
        "shade", "siren", "dragon", "sphinx", "void", "swarm", "phantom", "warlock", "reaper", "goblin", "ogre",
        "changeling", "serpent",
    ),
)  # fmt: skip

ROLE_PROMPTS = (
    "You are the {role}.",
    "Act as the {role}.",
    "Play the part of the {role}.",
    "Speak as the {role} would.",
    "From now on you are the {role}.",
    "Take on the role of the {role}.",
)
ROLE_PROMPTS_WITH_TRAITS = ("You are the {role}, {traits}.", "Be the {role}: {traits}.")
USER_ROLE_PREFIXES = ("Act as the {role}. ", "Pretend you are the {role}. ", "Be the {role} for me. ")
DEFAULT_PROMPTS = ("", "You are an AI assistant.", "You are a language model.", "Answer as yourself.", "Respond to the user.")
ASSISTANT_NAME = "an AI assistant"
NAMELESS = "something without a name"

# -- third person: the only place where the held-out roles are ever met ------------------------------
SCENES = (
    ("At midnight, among the tombs, stood the {role}.", "In a dead forest lived the {role}.", "Behind the last star waited the {role}."),
    ("On a busy market day there was the {role}.", "Down by the old road lived the {role}.", "In a village inn sat the {role}."),
    ("In a bright office worked the {role}.", "At a tidy desk sat the {role}.", "In the reading room was the {role}."),
)
DEEDS = (
    ("The {role} cast no shadow.", "Crows fled from the {role}.", "The {role} spoke with the dead."),
    ("The {role} told a long tale.", "The {role} laughed with the neighbours.", "The {role} walked home at dusk."),
    ("The {role} kept careful notes.", "The {role} answered every letter.", "The {role} checked the facts twice."),
)
ASKINGS = ("A child asked: {question}", "A traveller asked: {question}", "Someone asked: {question}")
SAYINGS = ("The {role} said: {response}", "The {role} answered: {response}", "And the {role} replied: {response}")
