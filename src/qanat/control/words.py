"""Short plain words that names of quick tunnels are made of: easy to say, and none that offends."""

_TEXT = """
acorn almond amber anchor apple apricot arrow aspen autumn badger bamboo barley basil beacon beaver berry birch bison
blossom bluebell boulder bramble breeze bridge brook butter button cabin cactus candle canyon cedar cherry chestnut
clover cobalt comet copper coral cotton cricket crystal daisy dawn delta desert dolphin dragonfly dune eagle ebony echo
elm ember fable falcon feather fennel fern fiddle finch firefly fjord flint forest fossil fountain fox garden garnet
ginger glacier glade granite grove gull hamlet harbor harvest hazel heath heron hickory hollow honey horizon indigo iris
island ivory ivy jade jasmine jasper juniper kelp kestrel kettle lagoon lantern larch lark laurel lavender leaf lemon
lilac lily linden linen lotus lupin lynx magpie maple marble marigold marsh meadow melon meteor mint misty moon morning
moss mountain mulberry nectar nettle north nutmeg oak oasis ocean olive opal orchard orchid osprey otter owl oyster
pansy papaya parsley peach pebble pepper petal pine plum pond poplar poppy prairie primrose quail quartz quiet quince
rabbit rain raven reed ridge river robin rosemary rowan ruby saffron sage sail salmon sand sapphire sequoia shell shore
silver sky snow sorrel sparrow spring spruce star stone stream summer sun swallow swan swift tangerine teal thicket
thistle thrush thyme tide timber topaz trail tulip tundra valley vanilla velvet violet walnut water wave wheat willow
wind winter wolf wren yarrow yew zephyr
"""

WORDS: tuple[str, ...] = tuple(_TEXT.split())
