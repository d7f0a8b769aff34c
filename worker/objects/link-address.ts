/** Where an agent's link comes from: set by `connect` over whatever the agent sent; nothing else reaches the object. */
export const ADDRESS_HEADER = 'x-longshore-client-address';
