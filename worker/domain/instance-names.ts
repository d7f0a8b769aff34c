/** Names and addresses that the server makes up for an instance. The source of randomness is a parameter. */

const FIRST = (
  'able amber ample apt bold brave bright brisk calm clean clear clever cosmic crisp deft eager early easy fair fast fine firm fleet fond ' +
  'fresh gentle glad golden grand great happy hardy honest humble ideal joint jolly keen kind large lasting light lively loyal lucky magic ' +
  'mellow merry mighty modern moved native neat noble nimble open patient plain polite prime proud quick quiet rapid rare ready regal ' +
  'robust round sharp shining smart smooth social solid square stable steady sterling still strong subtle sunny super sure swift tidy tops ' +
  'touched trusty unique upright useful valid vast vital warm welcome whole wired wise witty worthy'
).split(' ');

const SECOND = (
  'badger bass bat bear beetle bengal bird bison boar buck bull calf cat chow cicada cobra cod colt condor cougar cow crab crane cricket crow ' +
  'dane deer dingo dodo dog dolphin donkey dove dragon drake duck eagle eel egret elk falcon fawn ferret finch fish fly foal fowl fox frog ' +
  'gecko gnat goat goose gopher goshawk grouse gull gully hare hawk hen heron hippo horse hound husky ibex iguana jackal jay jaguar kid kit kite ' +
  'koala koi lab lamb lark leopard liger lion lioness lizard llama lobster longhorn louse lynx macaw mako mammal marlin marmot marten mink ' +
  'mole monkey moose moth mouse mule muskrat newt ocelot octopus orca oriole osprey ostrich otter owl ox oyster panda panther parrot perch ' +
  'phoenix pig pigeon piglet polecat pony possum puma pup python quail rabbit raccoon ram raptor rat raven ray redfish robin rodent rooster ' +
  'salmon sawfish seal shad shark sheep shepherd shiner shrew shrimp skink skunk sloth slug snail snake sole sparrow spider squid stag ' +
  'stallion starfish stork stud sunbird sunfish swan swift tadpole tahr tapir tarpon teal termite terrier tetra thrush tick tiger titmouse ' +
  'toad tomcat tortoise toucan treefrog troll trout tuna turkey turtle unicorn viper vulture wahoo walleye walrus warthog wasp weasel whale ' +
  'whippet wildcat wolf wombat woodcock worm wren yak zebra'
).split(' ');

/** Fills an array with random bytes; `crypto.getRandomValues` in production. */
export type RandomBytes = (length: number) => Uint8Array;

const pick = (words: readonly string[], bytes: Uint8Array, at: number) =>
  words[((bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0)) % words.length] ?? 'quiet';

/** Two words joined by a hyphen, as LXD names instances that came without a name. */
export function generateInstanceName(random: RandomBytes): string {
  const bytes = random(4);
  return `${pick(FIRST, bytes, 0)}-${pick(SECOND, bytes, 2)}`;
}

/** A MAC address in the range that LXD gives to instances. */
export function generateHwaddr(random: RandomBytes): string {
  const tail = [...random(3)].map((byte) => byte.toString(16).padStart(2, '0'));
  return `00:16:3e:${tail.join(':')}`;
}

/** 32 random bytes as 64 hex digits: the secret of one socket. */
export const generateSecret = (random: RandomBytes): string =>
  [...random(32)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
